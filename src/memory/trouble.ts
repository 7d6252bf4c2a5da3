/**
 * Tells the program, once each, why it has more in memory than the budget says: a warning of the process, or, when it ends
 * before its event loop has turned, a line on stderr.
 */
import { writeSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import type { ControlBlock } from './control-block.ts';
import { Trouble } from './tiers-trouble.ts';

const texts: readonly (readonly [number, string])[] = [
  [
    Trouble.full,
    'compressed RAM is full: pages stay in memory, beyond the resident budget; raise the limit (frontswap.limitBytes, FRONTSWAP_LIMIT) or add a swap file (devices, FRONTSWAP_FILE)',
  ],
  [
    Trouble.poor,
    'pages that do not compress stay in memory, beyond the resident budget; a swap file with room takes them (devices, FRONTSWAP_FILE)',
  ],
];

/** @param worker the fault thread: it posts a message when there is something new */
export function warnOfTrouble(worker: Worker, control: ControlBlock): void {
  let told = 0;
  const tell = (say: (text: string) => void): void => {
    const fresh = control.trouble & ~told;
    told |= fresh;
    for (const [bit, text] of texts) if ((fresh & bit) !== 0) say(text);
  };
  worker.on('message', () =>
    tell((text) => process.emitWarning(text, { type: 'FrontswapWarning', code: 'ERR_IO_NO_ROOM' })),
  );
  process.on('exit', () => tell((text) => writeSync(2, `frontswap: ${text}\n`)));
}
