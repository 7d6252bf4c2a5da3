/** A faulting thread and a serving loop, both with time limits, for the userfaultfd tests. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Poller } from '../../../src/os/linux/poll.ts';
import type { Linux } from '../../../src/os/linux/system-call.ts';
import type { Userfaultfd } from '../../../src/os/linux/userfaultfd.ts';
import { Cell, Command, State, type TouchTask } from './toucher.ts';

/** A watchdog: how long a test waits for a fault, or for its end. */
const PATIENCE_MS = 60_000;

export class Toucher {
  readonly #cells = new Int32Array(new SharedArrayBuffer(64));
  readonly #worker: Worker;

  private constructor(address: number, bytes: number) {
    const workerData: TouchTask = {
      cells: this.#cells.buffer as SharedArrayBuffer,
      address,
      bytes,
    };
    this.#worker = new Worker(new URL('./toucher.js', import.meta.url), { workerData });
  }

  static async start(address: number, bytes: number): Promise<Toucher> {
    const toucher = new Toucher(address, bytes);
    await once(toucher.#worker, 'message');
    return toucher;
  }

  get threadId(): number {
    return this.#cells[Cell.thread]!;
  }

  read(at: number): void {
    this.ask(Command.read, at);
  }

  write(at: number, value: number): void {
    this.ask(Command.write, at, value);
  }

  /** @param command of Command */
  ask(command: number, at: number, value: number = 0): void {
    this.#cells[Cell.command] = command;
    this.#cells[Cell.at] = at;
    this.#cells[Cell.value] = value;
    Atomics.store(this.#cells, Cell.state, State.asked);
    Atomics.notify(this.#cells, Cell.state);
  }

  get hasAnswered(): boolean {
    return Atomics.load(this.#cells, Cell.state) === State.answered;
  }

  /** The result of the touch; blocks the main thread, which the worker does not need. */
  result(): number {
    const end = Date.now() + PATIENCE_MS;
    while (!this.hasAnswered && Date.now() < end)
      Atomics.wait(this.#cells, Cell.state, State.asked, 10);
    if (!this.hasAnswered) throw new Error('the touch did not end');
    return this.#cells[Cell.result]!;
  }

  /** All faults of the thread must be resolved, or its range unregistered. */
  async stop(): Promise<void> {
    Atomics.store(this.#cells, Cell.state, State.end);
    Atomics.notify(this.#cells, Cell.state);
    await once(this.#worker, 'exit');
  }
}

/** Waits for the messages of the next fault; throws if none arrives. */
export function awaitMessages(linux: Linux, uffd: Userfaultfd): number {
  const poller = new Poller(linux, [uffd.fd]);
  const end = Date.now() + PATIENCE_MS;
  while (Date.now() < end) {
    if (poller.wait(50) <= 0) continue;
    const count = uffd.readMessages();
    if (count > 0) return count;
  }
  throw new Error('no fault was reported');
}
