/**
 * Opens a userfaultfd by one of three methods, with the requested features.
 *
 *   method                 requires                                              reports
 *   userfaultfd(2)         CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd = 1    all faults, also those of the kernel
 *   /dev/userfaultfd       permission to open the file (6.1)                     the same
 *   UFFD_USER_MODE_ONLY    nothing (5.11)                                        faults in user mode; a system call that
 *                                                                                accesses a missing page fails with EFAULT
 *
 * The features of a descriptor can be set only once, and a request with an unsupported feature is refused as a whole. So a
 * second descriptor is opened first; it requests no features and reads the list of supported ones.
 *
 * Sources: userfaultfd(2), ioctl_userfaultfd(2), Documentation/admin-guide/mm/userfaultfd.rst.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { Errno, errnoName } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';
import { featureNames, UFFD_API_VERSION, UffdRequest } from './uffd-constants.ts';
import { Userfaultfd } from './userfaultfd.ts';

/** The method; `user-mode` does not report faults in system calls. */
export type UffdAccess = 'system-call' | 'device' | 'user-mode';

/** UFFD_USER_MODE_ONLY of userfaultfd(2). */
const USER_MODE_ONLY = 1;
/** O_CLOEXEC and O_NONBLOCK, the same numbers on x86-64 and arm64. */
const FLAGS = 0o2000000 | 0o4000;
const API_BYTES = 24;

export interface UffdOptions {
  /** Required features: without them opening fails. A mask of UffdFeature. */
  readonly required?: number;
  /** Features to enable if the kernel supports them. */
  readonly optional?: number;
  /** Methods to try, in the order above. Default: all. */
  readonly access?: readonly UffdAccess[];
}

export interface OpenedUffd {
  /** Null if opening failed; `reason` says why. */
  readonly uffd: Userfaultfd | null;
  readonly access: UffdAccess | null;
  /** All features that this kernel supports. */
  readonly offered: number;
  /** Why uffd is null; empty otherwise. */
  readonly reason: string;
}

const allMethods: readonly UffdAccess[] = ['system-call', 'device', 'user-mode'];

/** Opens a userfaultfd, or returns the reason why it failed. */
export function openUserfaultfd(linux: Linux, options: UffdOptions = {}): OpenedUffd {
  const { required = 0, optional = 0, access = allMethods } = options;
  const refusals: string[] = [];
  for (const method of allMethods.filter((m) => access.includes(m))) {
    const fd = openBy(linux, method);
    if (fd < 0) {
      refusals.push(`${method}: ${errnoName(-fd)}`);
      continue;
    }
    let isKept = false;
    try {
      const offered = offeredBy(linux, method);
      const missing = required & ~offered;
      if (missing !== 0)
        return none(`the kernel lacks ${featureNames(missing).join(', ')}`, offered);
      const features = (required | optional) & offered;
      const errno = shakeHands(linux, fd, features).errno;
      if (errno !== 0) return none(`the kernel refuses the features: ${errnoName(errno)}`, offered); // EPERM: eventFork
      isKept = true;
      return { uffd: new Userfaultfd(linux, fd, features), access: method, offered, reason: '' };
    } finally {
      if (!isKept) linux.close(fd);
    }
  }
  return none(`no userfaultfd: ${refusals.join('; ')}`, 0);
}

function none(reason: string, offered: number): OpenedUffd {
  return { uffd: null, access: null, offered, reason };
}

/** The features that this kernel supports, read from a separate descriptor. */
function offeredBy(linux: Linux, method: UffdAccess): number {
  const probe = openBy(linux, method);
  if (probe < 0) return 0;
  try {
    const { errno, offered } = shakeHands(linux, probe, 0);
    return errno === 0 ? offered : 0;
  } finally {
    linux.close(probe);
  }
}

/** @returns a descriptor, or the negative errno */
function openBy(linux: Linux, method: UffdAccess): number {
  if (method === 'device') return openByDevice(linux);
  const flags = method === 'user-mode' ? FLAGS | USER_MODE_ONLY : FLAGS;
  const fd = linux.systemCall(linux.numbers.userfaultfd, flags, 0, 0);
  return fd === -1 ? -linux.errno() : fd;
}

function openByDevice(linux: Linux): number {
  let device: number;
  try {
    device = openSync('/dev/userfaultfd', constants.O_RDWR);
  } catch (error) {
    const { errno = -Errno.ENOENT } = error as NodeJS.ErrnoException;
    return errno;
  }
  const fd = linux.ioctl(device, UffdRequest.create, FLAGS);
  const errno = fd === -1 ? linux.errno() : 0;
  closeSync(device);
  return errno === 0 ? fd : -errno;
}

/** UFFDIO_API. May be repeated after a refusal. */
function shakeHands(
  linux: Linux,
  fd: number,
  features: number,
): { errno: number; offered: number } {
  const api = new Struct(linux, API_BYTES);
  api.set64(0, UFFD_API_VERSION);
  api.set64(8, features);
  if (linux.ioctl(fd, UffdRequest.api, api.address) !== 0)
    return { errno: linux.errno(), offered: 0 };
  return { errno: 0, offered: api.get32(8) };
}
