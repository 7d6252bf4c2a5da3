/** The name of a process, for messages. Source: proc_pid_comm(5). */
import { readFileSync } from 'node:fs';

/** `process 123 (name)`; null if the process has ended or there is no /proc. */
export function processText(pid: number): string | null {
  try {
    return `process ${pid} (${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()})`;
  } catch {
    return null;
  }
}
