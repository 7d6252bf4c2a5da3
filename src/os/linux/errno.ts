/** Error numbers and names: errno(3), asm-generic/errno.h; the same on x86-64 and arm64. */
import { constants } from 'node:os';

/** The error numbers that os/linux/ handles. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EINVAL: 22,
  ENOTTY: 25,
  EPIPE: 32,
  ENOSYS: 38,
  ENOTSOCK: 88,
  ECONNRESET: 104,
  ETIMEDOUT: 110,
  EINPROGRESS: 115,
} as const;

const names = new Map<number, string>([[133, 'EHWPOISON']]);
// EWOULDBLOCK and EOPNOTSUPP follow the usual names of the same numbers.
for (const [name, value] of Object.entries(constants.errno))
  if (!names.has(value)) names.set(value, name);

/** `EEXIST` for 17; `errno 999` for an unknown number. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}
