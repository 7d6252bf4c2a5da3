/** How a child process ended, and what it printed. */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Waits until the child ends; kills it at the timeout, because it hangs then.
 * @param kill signal to send once the child has printed `ready`
 */
export async function endingOf(
  child: ChildProcessWithoutNullStreams,
  kill?: NodeJS.Signals,
  milliseconds = 60_000,
): Promise<Ending> {
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (kill !== undefined && stdout.includes('ready')) child.kill(kill);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), milliseconds);
  const ending = await new Promise<Ending>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr })),
  );
  clearTimeout(timer);
  return ending;
}
