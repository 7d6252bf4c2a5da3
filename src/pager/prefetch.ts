/**
 * Which pages to bring with the one that was touched. Two rules, both from what was touched before:
 *
 *   streams   a fault on exactly the page that follows what a stream brought last: the stream goes on, twice as far
 *   a vote    otherwise the last faults vote on a stride, first the last 4, then 8, then 16: a majority starts a stream
 *             (Boyer and Moore's vote; Maruf and Chowdhury, "Effectively Prefetching Remote Memory with Leap", 2020)
 *
 * Several streams are kept, so that loops over more than one array are seen. The pages that a stream brings are not
 * touched through the pager, so the next fault of a running stream is one window later: its cost is shared by the window.
 *
 * Cost: a few integer operations a fault. Without a pattern nothing is brought.
 */

const STREAMS = 8;
const HISTORY = 16;
/** First and largest window, in pages beside the one that was touched. */
const WINDOW_MIN = 3;
const WINDOW_MAX = 255;
/** A stride beyond this is no pattern that pays. */
const STRIDE_MAX = 64;

export class Prefetch {
  /** Of the last predict(): how many pages to bring beside the one touched, and how far apart. */
  count = 0;
  stride = 1;
  readonly #pages: number;
  readonly #expected: Int32Array = new Int32Array(STREAMS).fill(-1);
  readonly #strides: Int32Array = new Int32Array(STREAMS);
  readonly #windows: Int32Array = new Int32Array(STREAMS);
  readonly #history: Int32Array = new Int32Array(HISTORY).fill(-1);
  #at = 0;
  #nextStream = 0;
  /** The stream of the last predict(), or -1. */
  #stream = -1;

  constructor(pages: number) {
    this.#pages = pages;
  }

  /** `page` was touched and was not there. Sets count and stride. */
  predict(page: number): void {
    this.count = 0;
    this.stride = 1;
    this.#stream = this.#expected.indexOf(page);
    if (this.#stream === -1) this.#start(page);
    else this.#windows[this.#stream] = Math.min(this.#windows[this.#stream]! * 2 + 1, WINDOW_MAX);
    this.#history[this.#at] = page;
    this.#at = (this.#at + 1) % HISTORY;
    if (this.#stream === -1) return;
    this.stride = this.#strides[this.#stream]!;
    const room =
      this.stride > 0
        ? Math.floor((this.#pages - 1 - page) / this.stride)
        : Math.floor(page / -this.stride);
    this.count = Math.min(this.#windows[this.#stream]!, room);
  }

  /** What predict() asked for was brought, but for the last pages: the stream goes on after `count` of them. */
  record(page: number, count: number): void {
    if (this.#stream !== -1) this.#expected[this.#stream] = page + this.stride * (count + 1);
  }

  #start(page: number): void {
    const stride = this.#vote(page);
    if (stride === 0) return;
    this.#stream = this.#nextStream;
    this.#nextStream = (this.#nextStream + 1) % STREAMS;
    this.#strides[this.#stream] = stride;
    this.#windows[this.#stream] = WINDOW_MIN;
  }

  /** The stride between faults that most of the last 4, 8 or 16 agree on; or 1, -1 beside a recent one; 0: none. */
  #vote(page: number): number {
    for (let among = 4; among <= HISTORY; among *= 2) {
      const stride = this.#majority(page, among);
      if (stride !== 0) return stride;
    }
    if (page > 0 && this.#history.includes(page - 1)) return 1;
    return this.#history.includes(page + 1) ? -1 : 0;
  }

  #majority(page: number, among: number): number {
    let candidate = 0;
    let votes = 0;
    for (let i = 0; i < among; i++) {
      const stride = this.#strideAt(page, i);
      if (votes === 0) candidate = stride;
      votes += stride === candidate ? 1 : -1;
    }
    if (candidate === 0 || Math.abs(candidate) > STRIDE_MAX) return 0;
    let agreeing = 0;
    for (let i = 0; i < among; i++) if (this.#strideAt(page, i) === candidate) agreeing++;
    return agreeing * 2 > among ? candidate : 0;
  }

  /** The step between the i-th last fault and the one before it; 0 where there was none. */
  #strideAt(page: number, i: number): number {
    const to = i === 0 ? page : this.#history[(this.#at - i + HISTORY) % HISTORY]!;
    const from = this.#history[(this.#at - i - 1 + 2 * HISTORY) % HISTORY]!;
    return i + 1 > HISTORY || from < 0 || to < 0 ? 0 : to - from;
  }
}
