/**
 * The memory interface of the pager (pager/ops.ts) without kernel support: resident pages are in frames of one buffer, and a
 * caller must request a page's frame before it accesses the page.
 *
 *   frameOf: page ─▶ frame + 1, 0 = not resident      writable: a byte per page
 *
 * One thread. Nothing is allocated after the constructor.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type PagedMemory, StopReason } from '../pager/ops.ts';

export class FrameMemory implements PagedMemory {
  readonly pages: number;
  readonly shared = null;
  stop: StopReason = StopReason.none;
  /** The frames that hold resident pages. */
  readonly buffer: ArrayBuffer;
  readonly frameOf: Int32Array;
  readonly writable: Uint8Array;
  /** The last page that could not be read back, or -1. */
  poisoned = -1;
  readonly #bytes: Uint8Array;
  readonly #pagerFrames: Uint8Array;
  readonly #free: Int32Array;
  #freeCount: number;

  /**
   * @param frames maximum number of resident pages
   * @param pagerFrames the frames that pages are copied through
   */
  constructor(pages: number, frames: number, pagerFrames: Uint8Array) {
    this.pages = pages;
    this.buffer = new ArrayBuffer(frames * PAGE_BYTES);
    this.frameOf = new Int32Array(pages);
    this.writable = new Uint8Array(pages);
    this.#bytes = new Uint8Array(this.buffer);
    this.#pagerFrames = pagerFrames;
    this.#free = Int32Array.from({ length: frames }, (_, frame) => frames - 1 - frame);
    this.#freeCount = frames;
  }

  install(page: number, frame: number, count: number, writable: boolean): number {
    for (let i = 0; i < count; i++) {
      const at = this.#alloc(page + i, writable);
      if (at === -1) return i;
      const from = (frame + i) * PAGE_BYTES;
      this.#bytes.set(this.#pagerFrames.subarray(from, from + PAGE_BYTES), at);
    }
    return count;
  }

  installZeros(page: number, count: number, _areWritten: boolean): number {
    for (let i = 0; i < count; i++) {
      const at = this.#alloc(page + i, true);
      if (at === -1) return i;
      this.#bytes.fill(0, at, at + PAGE_BYTES);
    }
    return count;
  }

  protect(page: number, count: number): void {
    this.writable.fill(0, page, page + count);
  }

  makeWritable(page: number, count: number): void {
    this.writable.fill(1, page, page + count);
  }

  take(page: number, count: number, frame: number): number {
    this.stop = StopReason.none;
    for (let i = 0; i < count; i++) {
      const from = this.#frameAt(page + i) * PAGE_BYTES;
      this.#pagerFrames.set(
        this.#bytes.subarray(from, from + PAGE_BYTES),
        (frame + i) * PAGE_BYTES,
      );
      this.drop(page + i, 1);
    }
    return count;
  }

  drop(page: number, count: number): void {
    for (let i = page; i < page + count; i++) {
      if (this.frameOf[i] === 0) continue;
      this.#free[this.#freeCount++] = this.#frameAt(i);
      this.frameOf[i] = 0;
      this.writable[i] = 0;
    }
  }

  flush(): void {}
  freeFrames(_frame: number, _count: number): void {}
  wake(_page: number, _count: number): void {}

  poison(page: number): void {
    this.poisoned = page;
  }

  #frameAt(page: number): number {
    const frame = this.frameOf[page]! - 1;
    assert(frame >= 0, 'the page is resident');
    return frame;
  }

  /** Allocates a frame for the page. Returns its byte offset in `buffer`, or -1. */
  #alloc(page: number, writable: boolean): number {
    this.stop = StopReason.none;
    if (this.frameOf[page] !== 0) this.stop = StopReason.resident;
    else if (this.#freeCount === 0) this.stop = StopReason.busy;
    if (this.stop !== StopReason.none) return -1;
    const frame = this.#free[--this.#freeCount]!;
    this.frameOf[page] = frame + 1;
    this.writable[page] = writable ? 1 : 0;
    return frame * PAGE_BYTES;
  }
}
