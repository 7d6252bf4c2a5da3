/** The parts of the process that a command may use; tests replace them. */

import type { HostParts } from '../host/parts.ts';
import { type Environment, runtimeFolder } from '../host/runtime-folder.ts';
import type { Variables } from './program.ts';

export interface Output {
  /** False for a pipe or a file: no colours, no rewritten lines. */
  readonly isTerminal: boolean;
  /** Width in characters; 80 when unknown. */
  readonly columns: number;
  /** Never fails: output is dropped once the reader has closed. */
  write(text: string): void;
}

export interface World {
  readonly env: Environment;
  readonly uid: number;
  /** Folder of private sockets and of control sockets without --control. */
  readonly runtimeFolder: string;
  /** Data. */
  readonly stdout: Output;
  /** Messages, progress, errors. */
  readonly stderr: Output;
  /**
   * Replaces this process with a program; where it cannot, runs a child and returns its exit status.
   * @throws SwapError
   */
  runProgram(words: readonly string[], variables: Variables): Promise<number>;
  /** The host's parts; loaded only by the command that needs them. */
  loadParts(): Promise<HostParts>;
}

/** Stops at the first broken pipe instead of dying from it: `list | head -1` is no error. */
function outputOf(name: 'stdout' | 'stderr'): Output {
  let open = true;
  let made: NodeJS.WriteStream | null = null;
  // Made when first used: a stream changes its descriptor, and `run` leaves them to the program as they are.
  const stream = (): NodeJS.WriteStream => {
    made ??= process[name].on('error', () => {
      open = false;
    });
    return made;
  };
  return {
    get isTerminal() {
      return stream().isTTY === true;
    },
    get columns() {
      return stream().columns || 80; // a terminal without a size says 0
    },
    write(text) {
      if (open) stream().write(text);
    },
  };
}

const userId = (): number => process.getuid?.() ?? 0;

export const realWorld = (): World => ({
  env: process.env,
  uid: userId(),
  runtimeFolder: runtimeFolder(process.env, userId()),
  stdout: outputOf('stdout'),
  stderr: outputOf('stderr'),
  runProgram: async (...what) => (await import('./program.ts')).runProgram(...what),
  loadParts: async () => (await import('../host/compose.ts')).composeParts(),
});
