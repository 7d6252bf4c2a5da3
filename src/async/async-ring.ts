/**
 * The memory that a process shares with the worker that holds its pages: a ring of cells, each room for one batch.
 *
 *   0          16                                                4096-aligned
 *   ├ held: 2 × f64 ┼ words of cell 0 │ cell 1 │ ...   ┼ pages of cell 0 │ cell 1 │ ...
 *                     count, then op, slot, answer of each page
 *
 * A cell belongs to one side at a time: to the worker from the message with its number until the same number comes
 * back. The messages order the memory; nothing here is touched by both at once, so nothing here is atomic.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';

const HELD_BYTES = 16;
const WORDS_A_PAGE = 3;

/** Places of `held`: what the worker's store holds, as of the last batch. */
export const StoreUsage = { storedPages: 0, usedBytes: 1 } as const;

/** What a worker is started with. */
export interface RingData {
  readonly memory: SharedArrayBuffer;
  readonly cells: number;
  readonly batchPages: number;
  readonly slots: number;
  readonly limitBytes: number;
}

const wordsOf = (batchPages: number): number => 1 + WORDS_A_PAGE * batchPages;
const pagesFrom = (cells: number, batchPages: number): number =>
  Math.ceil((HELD_BYTES + cells * wordsOf(batchPages) * 4) / PAGE_BYTES) * PAGE_BYTES;

/** Memory for so many cells. */
export const ringMemory = (cells: number, batchPages: number): SharedArrayBuffer =>
  new SharedArrayBuffer(pagesFrom(cells, batchPages) + cells * batchPages * PAGE_BYTES);

export class Ring {
  readonly cells: number;
  readonly batchPages: number;
  readonly usage: Float64Array;
  /** All pages; see pageAt. */
  readonly pages: Uint8Array;
  readonly #words: Int32Array;

  constructor({ memory, cells, batchPages }: RingData) {
    this.cells = cells;
    this.batchPages = batchPages;
    this.usage = new Float64Array(memory, 0, 2);
    this.#words = new Int32Array(memory, HELD_BYTES, cells * wordsOf(batchPages));
    const pagesAt = pagesFrom(cells, batchPages);
    this.pages = new Uint8Array(memory, pagesAt, cells * batchPages * PAGE_BYTES);
  }

  /** Place of a cell's page in `pages`, bytes. */
  pageAt(cell: number, page: number): number {
    return (cell * this.batchPages + page) * PAGE_BYTES;
  }

  /** Pages of the batch in a cell. */
  count(cell: number): number {
    const count = this.#words[this.#at(cell)]!;
    assert(count >= 0 && count <= this.batchPages, 'a batch fits its cell');
    return count;
  }

  setCount(cell: number, pages: number): void {
    this.#words[this.#at(cell)] = pages;
  }

  op(cell: number, page: number): number {
    return this.#words[this.#at(cell, page)]!;
  }

  slot(cell: number, page: number): number {
    return this.#words[this.#at(cell, page) + 1]!;
  }

  setPage(cell: number, page: number, op: number, slot: number): void {
    const at = this.#at(cell, page);
    this.#words[at] = op;
    this.#words[at + 1] = slot;
  }

  answer(cell: number, page: number): number {
    return this.#words[this.#at(cell, page) + 2]!;
  }

  setAnswer(cell: number, page: number, answer: number): void {
    this.#words[this.#at(cell, page) + 2] = answer;
  }

  /** Place of a cell's count, or of the words of one of its pages. */
  #at(cell: number, page?: number): number {
    assert(Number.isInteger(cell) && cell >= 0 && cell < this.cells, 'a cell is in its ring');
    const first = cell * wordsOf(this.batchPages);
    if (page === undefined) return first;
    assert(page >= 0 && page < this.batchPages, 'a page is in its cell');
    return first + 1 + WORDS_A_PAGE * page;
  }
}

/** The message that asks a worker to end, in place of a cell's number. */
export const END = -1;
