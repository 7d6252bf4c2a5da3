/**
 * Delays the requests of an export: all of them while it is frozen, and otherwise those above its rate. A connection asks
 * before it processes input. While it must wait, it does not read, so the socket slows down its client.
 *
 *   level   rises by `rateBytes` a second, up to the bytes of a tenth of a second; falls by the bytes moved, even below 0
 *   wait    until the level is above 0
 *
 * A batch may exceed the level; the next one then waits longer. So the mean rate is exact, and a burst is at most one batch
 * (buffers.ts) longer than a tenth of a second.
 *
 * Cost: two additions per batch; nothing is allocated.
 */

/** An idle export may save up the bytes of this part of a second. */
const BURST_SECONDS = 0.1;

export class ExportGate {
  /** True: every request waits until the export is thawed. */
  isFrozen = false;
  /** True: every request waits while the host changes the disk. */
  isPaused = false;
  #rateBytes = 0;
  #levelBytes = 0;
  #atMs = 0;

  get isOpen(): boolean {
    return !this.isFrozen && !this.isPaused && this.#rateBytes === 0;
  }

  /** Bytes per second, sent and received; 0: no limit. */
  get rateBytes(): number {
    return this.#rateBytes;
  }

  setRate(rateBytes: number, nowMs: number): void {
    this.#rateBytes = rateBytes;
    this.#levelBytes = rateBytes * BURST_SECONDS;
    this.#atMs = nowMs;
  }

  /** Time until a batch may start, ms: 0, or a finite time because of the rate, or Infinity while frozen. */
  waitMs(nowMs: number): number {
    if (this.isFrozen || this.isPaused) return Number.POSITIVE_INFINITY;
    if (this.#rateBytes === 0) return 0;
    const risen = ((nowMs - this.#atMs) * this.#rateBytes) / 1000;
    this.#levelBytes = Math.min(this.#levelBytes + risen, this.#rateBytes * BURST_SECONDS);
    this.#atMs = nowMs;
    return this.#levelBytes > 0 ? 0 : Math.ceil((-this.#levelBytes * 1000) / this.#rateBytes) + 1;
  }

  /** Call when a batch has moved `bytes`. */
  charge(bytes: number): void {
    this.#levelBytes -= bytes;
  }
}
