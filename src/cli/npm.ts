/**
 * How npm forwards signals to a program that it starts:
 *
 *   npm start   ─▶ sh -c 'exec node …'      npm forwards SIGINT and SIGTERM to its child, the program.
 *                                           Ctrl-C arrives twice: from the terminal, and forwarded
 *   npx         ─▶ sh -c 'frontswap …' ─▶ program   the child is a shell: a forwarded SIGTERM ends it,
 *                                                     and the program gets no signal
 *
 * Sources: npm's @npmcli/run-script (signal-manager), proc_pid_stat(5), proc_pid_cmdline(5).
 */
import { readFileSync } from 'node:fs';
import type { Environment } from '../host/runtime-folder.ts';

/** A script of npm, or npx. */
export const isUnderNpm = (env: Environment): boolean => env['npm_lifecycle_event'] !== undefined;

const lookEveryMs = 500;

/**
 * The process's name for ps, which npm sets: `npm exec frontswap host`; empty when it is gone, or there is no /proc.
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

/** npx itself, or the shell between. A daemon that a program under npx starts has another parent, and is not meant. */
const isChildOfNpx = (env: Environment): boolean =>
  env['npm_command'] === 'exec' &&
  [process.ppid, parentOf(process.ppid)].some((pid) => titleOf(pid).startsWith('npm exec'));

/**
 * Calls `onGone`, again and again, once the process that npx started this one by is gone; never when npx did not.
 * @returns how to end that
 */
export function watchNpx(env: Environment, onGone: () => void): () => void {
  if (!isChildOfNpx(env)) return () => undefined;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid !== parent) onGone();
  }, lookEveryMs).unref();
  return () => clearInterval(timer);
}
