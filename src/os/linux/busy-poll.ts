/**
 * Decides whether to poll for an answer before sleeping. A thread that sleeps is woken by the other side, which costs both of
 * them more than a short request: 5 to 20 us. A thread that polls for about as long is not asleep when the answer arrives.
 *
 *   begins() ── true ──▶ up to POLLS_MAX attempts ──▶ ends(whether there was an answer)
 *       └────── false ─▶ sleep
 *
 * Polling needs a processor that no other thread needs. So there is no polling for a number of waits, which doubles each time,
 *   - after a wait in vain: the other side is slower than that;
 *   - after waits in which the scheduler took the processor from this thread (involuntary context switches): another
 *     thread needs it, maybe the one that should answer.
 *
 * Cost: one system call per CHECKED_WAITS waits, no allocation.
 * Sources: getrusage(2), RUSAGE_THREAD.
 */
import type { LibC } from './libc.ts';

/** Attempts of one wait, each a system call: 20 to 30 us. */
export const POLLS_MAX = 64;
/** Waits between two looks at the context switches. */
const CHECKED_WAITS = 16;
/** Context switches in that many waits that end the polling. */
const SWITCHES_MAX = 3;
/** Most waits without polling. Waits in vain then cost 1 of 1024 waits about 25 us. */
const PAUSE_MAX = 1023;

const RUSAGE_THREAD = 1;
/** struct rusage: two timevals, 14 longs; ru_nivcsw is the last one. */
const RUSAGE_BYTES = 144;
const INVOLUNTARY_SWITCHES = 136;

export class BusyPoll {
  readonly #switches: () => number;
  /** Waits without polling that are left, and the length of the last such pause. */
  #left = 0;
  #pause = 0;
  /** Answers since the last look at the context switches, and their count then. */
  #answers = 0;
  #before = 0;

  /** @param switches involuntary context switches of this thread so far */
  constructor(switches: () => number) {
    this.#switches = switches;
  }

  /** Whether to poll in this wait; if so, ends() must follow. */
  begins(): boolean {
    if (this.#left > 0) {
      this.#left--;
      return false;
    }
    if (this.#answers === 0) this.#before = this.#switches();
    return true;
  }

  /** @param isAnswered the polling found what it waited for */
  ends(isAnswered: boolean): void {
    if (!isAnswered) {
      this.#stop();
      return;
    }
    this.#answers++;
    if (this.#answers < CHECKED_WAITS) return;
    if (this.#switches() - this.#before > SWITCHES_MAX) {
      this.#stop();
      return;
    }
    this.#answers = 0;
    this.#pause = 0;
  }

  #stop(): void {
    this.#answers = 0;
    this.#pause = Math.min(PAUSE_MAX, 2 * this.#pause + 1);
    this.#left = this.#pause;
  }
}

/** The polling of the calling thread. */
export function systemBusyPoll(libc: LibC): BusyPoll {
  const getrusage = libc.bind('int getrusage(int who, uintptr_t usage)');
  const usage = new Uint32Array(RUSAGE_BYTES / 4);
  const address = libc.addressOf(usage);
  return new BusyPoll(() => {
    getrusage(RUSAGE_THREAD, address);
    return usage[INVOLUNTARY_SWITCHES / 4]! & 0x3fff_ffff; // stays a small integer
  });
}
