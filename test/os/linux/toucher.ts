/**
 * A worker that touches memory when told to, for tests of faults: it waits in the kernel while the main thread serves it.
 * Commands come through a shared array of Int32 (`Cell`), since a thread in a fault answers no message.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Mapping } from '../../../src/os/linux/mapping.ts';
import { Process } from '../../../src/os/linux/process.ts';
import { theLinux } from './machine.ts';

/** Where a command and its result lie in the shared array. */
export const Cell = { state: 0, command: 1, at: 2, value: 3, result: 4, thread: 5 } as const;
export const State = { idle: 0, asked: 1, answered: 2, end: 3 } as const;
export const Command = { read: 0, write: 1 } as const;

/** How long the worker waits for a command before it gives up by itself. */
const PATIENCE_MS = 20_000;

export interface TouchTask {
  readonly cells: SharedArrayBuffer;
  readonly address: number;
  readonly bytes: number;
}

if (parentPort !== null) {
  const { cells, address, bytes } = workerData as TouchTask;
  const linux = theLinux();
  const memory = new Uint8Array(new Mapping(linux).viewOf(address, bytes));
  const shared = new Int32Array(cells);
  shared[Cell.thread] = new Process(linux).threadId();
  parentPort.postMessage('ready');
  for (;;) {
    if (Atomics.load(shared, Cell.state) !== State.asked) {
      const now = Atomics.load(shared, Cell.state);
      if (now === State.end) break;
      if (Atomics.wait(shared, Cell.state, now, PATIENCE_MS) === 'timed-out') break;
      continue;
    }
    const at = shared[Cell.at]!;
    if (shared[Cell.command] === Command.write) memory[at] = shared[Cell.value]!;
    shared[Cell.result] = memory[at]!;
    Atomics.store(shared, Cell.state, State.answered);
  }
}
