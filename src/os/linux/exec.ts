/**
 * Replaces the program of this process, as the shell's `exec` does. The process id, the terminal's process group and
 * the standard streams stay the same, no signal or stream needs forwarding, and the memory of this runtime is freed.
 *
 * Node changes process state that the program must not inherit:
 *   descriptors 0 to 15   have FD_CLOEXEC set: cleared here for 0, 1 and 2
 *   SIGPIPE, SIGXFSZ      are ignored: reset here to their defaults; exec itself resets caught signals
 *   stdio                 a stream object makes its descriptor non-blocking: do not use process.stdout before
 *
 * Sources: execvp(3), execve(2) ("Effect on process attributes"), signal(7).
 */
import { constants } from 'node:os';
import { loadLibC } from './libc.ts';

/** fcntl.h */
const F_SETFD = 2;
/** signal.h */
const SIG_DFL = 0;
const SIG_IGN = 1;

/** Executes `words[0]`, searched for in PATH. Returns only if that fails, with the errno. */
export type Exec = (words: readonly string[]) => number;

/** Null without FFI or Linux. The program gets the environment in process.env. */
export function systemExec(platform: NodeJS.Platform): Exec | null {
  const libc = loadLibC(platform);
  if (libc === null) return null;
  const fcntl = libc.bind('int fcntl(int fd, int command, int flags)');
  const signal = libc.bind('uintptr_t signal(int number, uintptr_t handler)');
  const execvp = libc.bind('int execvp(uintptr_t file, uintptr_t words)');
  return (words) => {
    const texts = words.map((word) => Buffer.from(`${word}\0`));
    const addresses = texts.map((text) => BigInt(libc.addressOf(text)));
    const list = new BigUint64Array([...addresses, 0n]);
    for (const fd of [0, 1, 2]) fcntl(fd, F_SETFD, 0);
    for (const name of ['SIGPIPE', 'SIGXFSZ'] as const) signal(constants.signals[name], SIG_DFL);
    execvp(Number(addresses[0]), libc.addressOf(list));
    const errno = libc.errno();
    signal(constants.signals.SIGPIPE, SIG_IGN); // exec failed: this process continues and reports the error
    return errno;
  };
}
