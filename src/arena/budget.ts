/**
 * A memory limit in bytes. Every byte that can become resident, payload and metadata, is reserved here before it is
 * touched, so `usedBytes <= limitBytes` holds at every moment.
 * Budgets nest: the budget of a shard is a child of the store's. When one of them refuses, none changes.
 */
import { assert } from '../base/assert.ts';
import { checkInteger } from '../base/options.ts';

/** The interface from which budgets reserve. */
export interface ParentBudget {
  /** Reserves `bytes`; returns false, and changes nothing, if they exceed the limit. */
  reserve(bytes: number): boolean;
  release(bytes: number): void;
}

/** A memory limit in bytes that stores, tables and buffers reserve from; a child also reserves from its parent. */
export class Budget {
  #limitBytes: number;
  readonly #parent: ParentBudget | null;
  #usedBytes = 0;
  #peakBytes = 0;

  /**
   * @param limitBytes limit in bytes, 0 = none
   * @throws SwapError ERR_ARG_VALUE
   */
  constructor(limitBytes: number, parent: ParentBudget | null = null) {
    checkInteger('new Budget()', 'limitBytes', limitBytes, { min: 0 });
    this.#limitBytes = limitBytes;
    this.#parent = parent;
  }

  /** Bytes; 0 = no limit. */
  get limitBytes(): number {
    return this.#limitBytes;
  }

  /** Changes the limit; returns false, and changes nothing, if more than the new limit is in use. */
  setLimit(limitBytes: number): boolean {
    checkInteger('Budget.setLimit()', 'limitBytes', limitBytes, { min: 0 });
    if (limitBytes !== 0 && this.#usedBytes > limitBytes) return false;
    this.#limitBytes = limitBytes;
    return true;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Highest usedBytes since the start. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** Reserves `bytes`; returns false, and changes nothing, if they exceed the limit. */
  reserve(bytes: number): boolean {
    const used = this.#usedBytes + bytes;
    if (this.#limitBytes !== 0 && used > this.#limitBytes) return false;
    if (this.#parent !== null && !this.#parent.reserve(bytes)) return false;
    this.#usedBytes = used;
    if (used > this.#peakBytes) this.#peakBytes = used;
    return true;
  }

  release(bytes: number): void {
    assert(bytes <= this.#usedBytes, 'released bytes <= usedBytes');
    this.#usedBytes -= bytes;
    if (this.#parent !== null) this.#parent.release(bytes);
  }
}
