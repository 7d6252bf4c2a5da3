/** What a command may touch of the process around it, so that tests can stand in for it. */

import type { HostParts } from '../host/parts.ts';
import type { Environment } from '../host/runtime-folder.ts';

export interface Output {
  /** False: a pipe or a file; nothing is coloured or rewritten there. */
  readonly isTerminal: boolean;
  /** Width in characters; 80 when unknown. */
  readonly columns: number;
  /** Never fails: what a reader that is gone would have got is dropped. */
  write(text: string): void;
}

export interface World {
  readonly env: Environment;
  readonly uid: number;
  /** Data. */
  readonly stdout: Output;
  /** Talk, progress, errors. */
  readonly stderr: Output;
  /** The host's parts; loaded only by the command that needs them. */
  loadParts(): Promise<HostParts>;
}

/** Stops at the first broken pipe instead of dying from it: `list | head -1` is no error. */
function outputOf(stream: NodeJS.WriteStream): Output {
  let open = true;
  stream.on('error', () => {
    open = false;
  });
  return {
    isTerminal: stream.isTTY === true,
    get columns() {
      return stream.columns || 80; // a terminal without a size says 0
    },
    write(text) {
      if (open) stream.write(text);
    },
  };
}

export const realWorld = (): World => ({
  env: process.env,
  uid: process.getuid?.() ?? 0,
  stdout: outputOf(process.stdout),
  stderr: outputOf(process.stderr),
  loadParts: async () => (await import('../host/compose.ts')).composeParts(),
});
