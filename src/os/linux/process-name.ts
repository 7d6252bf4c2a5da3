/** The name of a process, for messages. Source: proc_pid_comm(5). */
import { readFileSync } from 'node:fs';
import { printable } from '../../base/printable.ts';

/**
 * `process 123 (name)`; null if the process has ended or there is no /proc. A process chooses its name, which may contain
 * any byte but NUL (prctl(2), PR_SET_NAME): control characters are escaped.
 */
export function processText(pid: number): string | null {
  try {
    const name = readFileSync(`/proc/${pid}/comm`, 'utf8').replace(/\n$/, '');
    return `process ${pid} (${printable(name)})`;
  } catch {
    return null;
  }
}
