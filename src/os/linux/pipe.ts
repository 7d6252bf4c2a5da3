/** A pipe, close-on-exec and non-blocking. Source: pipe2(2). */
import { type Linux, Struct } from './system-call.ts';

/** O_CLOEXEC and O_NONBLOCK, the same numbers on x86-64 and arm64. */
const FLAGS = 0o2000000 | 0o4000;

export interface Pipe {
  readonly readFd: number;
  readonly writeFd: number;
}

/** Opens a pipe; descriptors belong to the process, not to the thread. */
export function openPipe(linux: Linux): Pipe {
  const fds = new Struct(linux, 8);
  const result = linux.bind('int pipe2(uintptr_t fds, int flags)')(fds.address, FLAGS);
  if (result === -1) linux.fail('pipe2');
  return { readFd: fds.get32(0), writeFd: fds.get32(4) };
}
