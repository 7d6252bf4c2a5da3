/**
 * Keeps a thread from being stopped while it joins a swap. A joining thread loads the foreign function interface, and stopping
 * a thread while it loads that interface or binds a function aborts the process. So before a thread stops another one, it makes
 * sure that neither that thread nor the threads that it started can join any more, and waits for those that are joining:
 *
 *   joins:   claim a slot ─▶ is a stop requested? then free the slot and throw ─▶ load, bind ─▶ free the slot
 *   stops:   request the stop ─▶ wait until each claimed slot has changed ─▶ stop
 *
 * If a join and a stop happen at the same time, at least one sees the other. A slot contains the id of its thread. A thread
 * that was stopped while it joined is ignored, because /proc no longer lists it. No function in this file needs the foreign
 * function interface.
 *
 * A thread with paged memory may sleep here: the fault thread never waits for a sleeping thread (calls.test).
 *
 * In the control block from GATE_AT on, words:   0: the process is exiting   1 .. 255: slots; 0 is free
 */
import { existsSync, readlinkSync } from 'node:fs';
import { SwapError } from '../base/errors.ts';
import { EXITING, GATE_AT, GATE_WORDS } from './gate-words.ts';

/** Longest wait for threads that join, and interval between two checks. */
const JOIN_WAIT_MS_MAX = 1000;
const POLL_MS = 1;

/** A word that no other thread can access, used to sleep. A thread that sleeps on it can be stopped. */
const sleeper = new Int32Array(new SharedArrayBuffer(4));

export class ThreadGate {
  readonly #words: Int32Array;

  /** @param shared a control block */
  constructor(shared: SharedArrayBuffer) {
    this.#words = new Int32Array(shared, GATE_AT, GATE_WORDS);
  }

  get isExiting(): boolean {
    return Atomics.load(this.#words, EXITING) === 1;
  }

  /** Marks the process as exiting: no more threads can join. */
  setExiting(): void {
    Atomics.store(this.#words, EXITING, 1);
  }

  /**
   * Runs `body`, where this thread may load the foreign function interface.
   * @param stops words of this thread and of its ancestors; 1: a stop is requested
   * @throws SwapError ERR_IO_ENDED: the process or this thread is ending
   */
  join<Result>(stops: readonly SharedArrayBuffer[], body: () => Result): Result {
    const slot = this.#claim();
    try {
      if (this.isExiting) throw ending('the process', 'exiting');
      if (stops.some(isStopRequested)) throw ending('this thread', 'thread');
      return body();
    } finally {
      Atomics.store(this.#words, slot, 0);
    }
  }

  /** Waits for the threads that are joining. False: one is still joining. */
  waitForJoins(milliseconds: number = JOIN_WAIT_MS_MAX): boolean {
    let left = milliseconds;
    for (let slot = 1; slot < GATE_WORDS; slot++) {
      const thread = Atomics.load(this.#words, slot);
      while (thread !== 0 && Atomics.load(this.#words, slot) === thread && hasThread(thread)) {
        if (left <= 0) return false;
        Atomics.wait(sleeper, 0, 0, POLL_MS);
        left -= POLL_MS;
      }
    }
    return true;
  }

  /** Claims a free slot, or the slot of a thread that has ended. */
  #claim(): number {
    const own = currentThread();
    for (;;) {
      for (let slot = 1; slot < GATE_WORDS; slot++) {
        const thread = Atomics.load(this.#words, slot);
        if (thread !== 0 && thread !== own && hasThread(thread)) continue;
        if (Atomics.compareExchange(this.#words, slot, thread, own) === thread) return slot;
      }
      Atomics.wait(sleeper, 0, 0, POLL_MS);
    }
  }
}

/** Requests the stop of a thread: it and the threads that it started can no longer join. */
export const requestStop = (stop: SharedArrayBuffer): void => {
  Atomics.store(new Int32Array(stop), 0, 1);
};

const isStopRequested = (stop: SharedArrayBuffer): boolean =>
  Atomics.load(new Int32Array(stop), 0) === 1;

/** Thread id of the calling thread: the link is `PID/task/ID`. */
function currentThread(): number {
  return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
}

const hasThread = (id: number): boolean => existsSync(`/proc/self/task/${id}`);

const ending = (what: string, reason: string): SwapError =>
  new SwapError('ERR_IO_ENDED', `${what} is ending: no thread can join the swap`, { reason });
