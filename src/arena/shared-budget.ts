/**
 * A memory limit that several threads reserve from, as the parent of the budgets of their disks. It counts in pages,
 * so that the numbers are 32-bit words; the bytes of each thread are rounded up to full pages.
 *
 *   memory   [ pages used │ limit in pages, 0 = none │ limit in bytes, a Float64 ]
 *
 * Invariant: pages used <= limit at every moment. A reservation adds its pages and then reads the limit again; a new
 * limit is written and then compared with the pages used. So at least one of the two sees the other.
 * Cost: reserve() and release() within a page are an addition; otherwise a compare-and-swap. Nothing is allocated.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';

const USED = 0;
const LIMIT = 1;
const PAGES_MAX = 0x7fff_ffff;

const limitPagesOf = (bytes: number): number =>
  bytes === 0 ? 0 : Math.min(PAGES_MAX, Math.max(1, Math.floor(bytes / PAGE_BYTES)));

/** A memory limit of a process, for one of its threads. */
export class SharedBudget {
  readonly #words: Int32Array;
  readonly #limitBytes: Float64Array;
  #ownBytes = 0;
  #ownPages = 0;

  /** @param memory made by create(); may be shared with other threads */
  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, 2);
    this.#limitBytes = new Float64Array(memory, 8, 1);
  }

  /** @param limitBytes 0: none */
  static memory(limitBytes: number): SharedArrayBuffer {
    const memory = new SharedArrayBuffer(16);
    new SharedBudget(memory).#write(limitBytes);
    return memory;
  }

  /** Bytes; 0 = no limit. */
  get limitBytes(): number {
    return this.#limitBytes[0]!;
  }

  /** Bytes used by all threads, in full pages per thread. */
  get usedBytes(): number {
    return Atomics.load(this.#words, USED) * PAGE_BYTES;
  }

  /** Changes the limit; returns false, and changes nothing, if more is in use. Only one thread may call it. */
  setLimit(limitBytes: number): boolean {
    const limit = limitPagesOf(limitBytes);
    const fits = (): boolean => limit === 0 || Atomics.load(this.#words, USED) <= limit;
    if (!fits()) return false; // even a briefly written limit would refuse pages of other threads
    const before = this.limitBytes;
    this.#write(limitBytes);
    if (fits()) return true;
    this.#write(before);
    return false;
  }

  #write(limitBytes: number): void {
    Atomics.store(this.#words, LIMIT, limitPagesOf(limitBytes));
    this.#limitBytes[0] = limitBytes;
  }

  /** Reserves `bytes`; returns false, and changes nothing, if they exceed the limit. */
  reserve(bytes: number): boolean {
    const own = this.#ownBytes + bytes;
    const pages = Math.ceil(own / PAGE_BYTES);
    if (!this.#take(pages - this.#ownPages)) return false;
    this.#ownBytes = own;
    this.#ownPages = pages;
    return true;
  }

  release(bytes: number): void {
    assert(bytes <= this.#ownBytes, 'released bytes <= reserved bytes');
    this.#ownBytes -= bytes;
    const pages = Math.ceil(this.#ownBytes / PAGE_BYTES);
    if (pages !== this.#ownPages) Atomics.sub(this.#words, USED, this.#ownPages - pages);
    this.#ownPages = pages;
  }

  #take(pages: number): boolean {
    if (pages === 0) return true;
    for (;;) {
      const used = Atomics.load(this.#words, USED);
      if (!this.#fits(used + pages)) return false;
      if (Atomics.compareExchange(this.#words, USED, used, used + pages) === used) break;
    }
    if (this.#fits(Atomics.load(this.#words, USED))) return true;
    Atomics.sub(this.#words, USED, pages);
    return false;
  }

  #fits(pages: number): boolean {
    const limit = Atomics.load(this.#words, LIMIT);
    return pages <= (limit === 0 ? PAGES_MAX : limit);
  }
}
