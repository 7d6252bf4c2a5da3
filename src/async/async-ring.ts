/**
 * The memory that a process shares with the worker that stores its pages: a ring of cells with one batch each.
 *
 *   0           16                                                4096-aligned
 *   ├ usage: 2 × f64 ┼ words of cell 0 │ cell 1 │ ...   ┼ pages of cell 0 │ cell 1 │ ...
 *                      count, then op, slot, result of each page
 *
 * Each cell has one owner at a time: the worker from the message with the cell's number until it sends the number
 * back, then the process. The messages order the memory accesses, so no access is atomic.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';

const USAGE_BYTES = 16;
const WORDS_PER_PAGE = 3;

/** Indexes into Ring.usage: the usage of the worker's store after its last batch. */
export const StoreUsage = { storedPages: 0, usedBytes: 1 } as const;

/** The message that tells the worker to exit; all others are numbers of cells. */
export const EXIT = -1;

/** The data with which a worker is started. */
export interface RingData {
  readonly memory: SharedArrayBuffer;
  readonly cells: number;
  readonly batchPages: number;
  readonly slots: number;
  readonly limitBytes: number;
}

const wordsOf = (batchPages: number): number => 1 + WORDS_PER_PAGE * batchPages;
const pagesFrom = (cells: number, batchPages: number): number =>
  Math.ceil((USAGE_BYTES + cells * wordsOf(batchPages) * 4) / PAGE_BYTES) * PAGE_BYTES;

/** Allocates the memory of a ring. */
export const ringMemory = (cells: number, batchPages: number): SharedArrayBuffer =>
  new SharedArrayBuffer(pagesFrom(cells, batchPages) + cells * batchPages * PAGE_BYTES);

export class Ring {
  readonly cells: number;
  readonly batchPages: number;
  readonly usage: Float64Array;
  /** The pages of all cells; see pageAt(). */
  readonly pages: Uint8Array;
  readonly #words: Int32Array;

  constructor({ memory, cells, batchPages }: RingData) {
    this.cells = cells;
    this.batchPages = batchPages;
    this.usage = new Float64Array(memory, 0, USAGE_BYTES / 8);
    this.#words = new Int32Array(memory, USAGE_BYTES, cells * wordsOf(batchPages));
    const pagesAt = pagesFrom(cells, batchPages);
    this.pages = new Uint8Array(memory, pagesAt, cells * batchPages * PAGE_BYTES);
  }

  /** Byte offset of a cell's page in `pages`. */
  pageAt(cell: number, page: number): number {
    return (cell * this.batchPages + page) * PAGE_BYTES;
  }

  /** Number of pages of the batch in a cell. */
  count(cell: number): number {
    const count = this.#words[this.#countAt(cell)]!;
    assert(count >= 0 && count <= this.batchPages, '0 <= count <= batchPages');
    return count;
  }

  setCount(cell: number, pages: number): void {
    this.#words[this.#countAt(cell)] = pages;
  }

  op(cell: number, page: number): number {
    return this.#words[this.#wordsAt(cell, page)]!;
  }

  slot(cell: number, page: number): number {
    return this.#words[this.#wordsAt(cell, page) + 1]!;
  }

  setPage(cell: number, page: number, op: number, slot: number): void {
    const at = this.#wordsAt(cell, page);
    this.#words[at] = op;
    this.#words[at + 1] = slot;
  }

  result(cell: number, page: number): number {
    return this.#words[this.#wordsAt(cell, page) + 2]!;
  }

  setResult(cell: number, page: number, result: number): void {
    this.#words[this.#wordsAt(cell, page) + 2] = result;
  }

  #countAt(cell: number): number {
    assert(Number.isInteger(cell) && cell >= 0 && cell < this.cells, '0 <= cell < cells');
    return cell * wordsOf(this.batchPages);
  }

  /** Index of the words of one page. */
  #wordsAt(cell: number, page: number): number {
    assert(page >= 0 && page < this.batchPages, '0 <= page < batchPages');
    return this.#countAt(cell) + 1 + WORDS_PER_PAGE * page;
  }
}
