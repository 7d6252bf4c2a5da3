/**
 * A byte ceiling. Every byte that can become resident is reserved here before it is touched, payload and
 * metadata alike, so `usedBytes <= limitBytes` holds at every moment, not on average.
 * Budgets nest: a shard's inside its store's. A reservation that any of them refuses changes none.
 */
import { assert } from '../base/assert.ts';

export class Budget {
  /** Bytes; 0 = no ceiling. */
  readonly limitBytes: number;
  readonly #parent: Budget | null;
  #usedBytes = 0;
  #peakBytes = 0;

  /** @param limitBytes ceiling in bytes, 0 = none */
  constructor(limitBytes: number, parent: Budget | null = null) {
    assert(Number.isSafeInteger(limitBytes) && limitBytes >= 0, 'a limit is a count of bytes');
    this.limitBytes = limitBytes;
    this.#parent = parent;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Most that was ever in use, bytes. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** Takes `bytes` or, answering false, nothing. */
  reserve(bytes: number): boolean {
    const used = this.#usedBytes + bytes;
    if (this.limitBytes !== 0 && used > this.limitBytes) return false;
    if (this.#parent !== null && !this.#parent.reserve(bytes)) return false;
    this.#usedBytes = used;
    if (used > this.#peakBytes) this.#peakBytes = used;
    return true;
  }

  release(bytes: number): void {
    assert(bytes <= this.#usedBytes, 'no more is released than was reserved');
    this.#usedBytes -= bytes;
    if (this.#parent !== null) this.#parent.release(bytes);
  }
}
