/**
 * How npm forwards signals to a program that it starts:
 *
 *   npm start   ─▶ sh -c 'exec node …'      npm forwards SIGINT and SIGTERM to its child, the program.
 *                                           The program gets Ctrl-C twice: from the terminal and from npm
 *   npx         ─▶ sh -c 'frontswap …' ─▶ program   npx forwards SIGTERM to the shell, which ends; the
 *                                                     program gets no signal
 *
 * Sources: npm's @npmcli/run-script (signal-manager), proc_pid_stat(5), proc_pid_cmdline(5).
 */
import { readFileSync } from 'node:fs';
import type { Environment } from '../host/runtime-folder.ts';

/** True in a script of npm, and under npx. */
export const isUnderNpm = (env: Environment): boolean => env['npm_lifecycle_event'] !== undefined;

const POLL_MS = 500;

/**
 * The command line of a process, which npm sets to `npm exec frontswap host`; '' if the process has ended or there is no /proc.
 */
function titleOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

function parentOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(/^.*\) \S (\d+)/.exec(stat)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Whether the parent is npx, or a shell that npx started. A daemon started by a program under npx has another parent. */
const isChildOfNpx = (env: Environment): boolean =>
  env['npm_command'] === 'exec' &&
  [process.ppid, parentOf(process.ppid)].some((pid) => titleOf(pid).startsWith('npm exec'));

/**
 * Calls `onEnd` repeatedly once the parent process has ended, if npx started this process.
 * @returns a function that ends the watch
 */
export function watchNpx(env: Environment, onEnd: () => void): () => void {
  if (!isChildOfNpx(env)) return () => undefined;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid !== parent) onEnd();
  }, POLL_MS).unref();
  return () => clearInterval(timer);
}
