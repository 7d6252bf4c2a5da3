/** Records the demo on a separate terminal, a pty that `script` of util-linux opens. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Recording } from './terminal.ts';

const root = join(fileURLToPath(import.meta.url), '../../../..');
const COLUMNS = 100;
const COMMAND = 'node build/examples/memory/demo.js';
/** Writes within this time are recorded as one event. */
const EVENT_MS = 50;

/** Records a run of the demo. If paging does not pay in it, the demo prints so. */
export async function recordDemo(): Promise<Recording> {
  const inside = `stty cols ${COLUMNS} rows 40; exec ${COMMAND}`;
  const child = spawn('script', ['--quiet', '--return', '--command', inside, '/dev/null'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const events: [number, string][] = [];
  let start: number | undefined;
  child.stdout.setEncoding('utf8').on('data', (written: string) => {
    const now = performance.now();
    start ??= now;
    const at = Math.round((now - start) / 10) * 10;
    const last = events.at(-1);
    if (last !== undefined && at - last[0] < EVENT_MS) last[1] += written;
    else events.push([at, written]);
  });
  const status = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (status !== 0) throw new Error(`${COMMAND} ended with status ${status}`);
  return { command: COMMAND, columns: COLUMNS, events };
}
