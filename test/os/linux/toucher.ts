/**
 * A worker that touches memory on command, for fault tests: it waits in the kernel while the main thread serves it.
 * Commands are passed in a shared Int32Array (`Cell`), since a thread in a fault cannot receive messages.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Advice, Mapping, Remap } from '../../../src/os/linux/mapping.ts';
import { Process } from '../../../src/os/linux/process.ts';
import { theLinux } from './machine.ts';

/** Positions of a command and its result in the shared array. */
export const Cell = { state: 0, command: 1, at: 2, value: 3, result: 4, thread: 5 } as const;
export const State = { idle: 0, asked: 1, answered: 2, end: 3 } as const;
/** `move` moves the page at `at` to `value`; `fork` creates a process that ends at once. */
export const Command = { read: 0, write: 1, drop: 2, unmap: 3, move: 4, fork: 5 } as const;

/** The worker ends when no command arrives within this time. */
const PATIENCE_MS = 20_000;

/**
 * The system call, not fork(3): fork(3) holds the locks of malloc while it waits for the event to be read, and the reader may
 * need them.
 */
const CLONE = process.arch === 'arm64' ? 220 : 56;
const SIGCHLD = 17;

export interface TouchTask {
  readonly cells: SharedArrayBuffer;
  readonly address: number;
  readonly bytes: number;
}

/** Executes commands until the end command or a timeout. */
class Executor {
  readonly #linux = theLinux();
  readonly #mapping = new Mapping(this.#linux);
  readonly #own = new Process(this.#linux);
  readonly #waitpid = this.#linux.bind('int waitpid(int child, uintptr_t status, int options)');
  readonly #address: number;
  readonly #memory: Uint8Array;
  readonly #cells: Int32Array;

  constructor({ cells, address, bytes }: TouchTask) {
    this.#address = address;
    this.#memory = new Uint8Array(this.#mapping.viewOf(address, bytes));
    this.#cells = new Int32Array(cells);
    this.#cells[Cell.thread] = this.#own.threadId();
  }

  run(): void {
    const cells = this.#cells;
    for (;;) {
      const state = Atomics.load(cells, Cell.state);
      if (state === State.end) return;
      if (state === State.asked) {
        cells[Cell.result] = this.#execute(cells[Cell.command]!, cells[Cell.at]!);
        // Must not overwrite an end command that arrived meanwhile.
        Atomics.compareExchange(cells, Cell.state, State.asked, State.answered);
      } else if (Atomics.wait(cells, Cell.state, state, PATIENCE_MS) === 'timed-out') return;
    }
  }

  #execute(command: number, at: number): number {
    const value = this.#cells[Cell.value]!;
    const where = this.#address + at;
    const page = this.#linux.pageBytes;
    switch (command) {
      case Command.write:
        this.#memory[at] = value;
        break;
      case Command.drop:
        return Number(this.#mapping.advise(where, page, Advice.dontNeed));
      case Command.unmap:
        this.#mapping.unmap(where, page);
        return 1;
      case Command.move: {
        const flags = Remap.mayMove | Remap.fixed;
        return this.#mapping.remap(where, page, page, flags, this.#address + value) > 0 ? 1 : 0;
      }
      case Command.fork: {
        const child = this.#linux.systemCall(CLONE, SIGCHLD, 0, 0);
        if (child === 0) this.#own.exitNow(0);
        if (child < 0) return 0;
        // Ends the child even if a lock held by another thread would block exit().
        process.kill(child, 'SIGKILL');
        return this.#waitpid(child, 0, 0) === child ? 1 : 0;
      }
    }
    return this.#memory[at]!;
  }
}

if (parentPort !== null) {
  const executor = new Executor(workerData as TouchTask);
  parentPort.postMessage('ready');
  executor.run();
}
