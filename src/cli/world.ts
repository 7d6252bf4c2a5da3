/** The parts of the process that commands use; tests replace them. */

import type { HostParts } from '../host/parts.ts';
import { type Environment, runtimeFolder } from '../host/runtime-folder.ts';
import { systemError } from '../os/system-error.ts';
import type { Variables } from './program.ts';

export interface Output {
  /** True for a terminal: colours and a status line are possible. */
  readonly isTerminal: boolean;
  /** Width in characters; 80 if unknown. */
  readonly columns: number;
  /** Never fails: after the reader has closed, output is dropped. */
  write(text: string): void;
}

export interface World {
  readonly env: Environment;
  readonly uid: number;
  /** Folder of private sockets and of default control sockets. */
  readonly runtimeFolder: string;
  /** For data. */
  readonly stdout: Output;
  /** For messages, progress and errors. */
  readonly stderr: Output;
  /** Writes bytes to stdout, and waits until they were accepted. @throws SwapError ERR_IO_SYSTEM */
  writeBytes(chunk: Uint8Array): Promise<void>;
  /** The bytes on stdin. */
  readBytes(): AsyncIterable<Uint8Array>;
  /**
   * Replaces this process with a program; where that is not possible, runs a child and returns its exit status.
   * @throws SwapError
   */
  runProgram(words: readonly string[], variables: Variables): Promise<number>;
  /** Loads the parts of the host; only one command needs them. */
  loadParts(): Promise<HostParts>;
}

/** Stops writing at a broken pipe, which is not an error: `list | head -1`. */
function outputOf(name: 'stdout' | 'stderr'): Output {
  let isOpen = true;
  let opened: NodeJS.WriteStream | null = null;
  // Opened at first use: a stream changes the flags of its descriptor, which `run` passes to the program.
  const stream = (): NodeJS.WriteStream => {
    opened ??= process[name].on('error', () => {
      isOpen = false;
    });
    return opened;
  };
  return {
    get isTerminal() {
      return stream().isTTY === true;
    },
    get columns() {
      return stream().columns || 80; // 0: a terminal without a size
    },
    write(text) {
      if (isOpen) stream().write(text);
    },
  };
}

const writeBytes = (chunk: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    process.stdout.write(chunk, (error) =>
      error == null ? resolve() : reject(systemError('write to stdout', error)),
    );
  });

const userId = (): number => process.getuid?.() ?? 0;

export const realWorld = (): World => ({
  env: process.env,
  uid: userId(),
  runtimeFolder: runtimeFolder(process.env, userId()),
  stdout: outputOf('stdout'),
  stderr: outputOf('stderr'),
  writeBytes,
  readBytes: () => process.stdin as AsyncIterable<Buffer>,
  runProgram: async (...what) => (await import('./program.ts')).runProgram(...what),
  loadParts: async () => (await import('../host/compose.ts')).composeParts(),
});
