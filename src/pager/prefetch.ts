/**
 * Decides which pages to swap in with the page that faulted. Two rules, both based on earlier faults:
 *
 *   streams   the page follows the last window of a stream: the stream continues, with a window twice as large
 *   a vote    otherwise the last 4 faults vote on a stride, then the last 8, then 16: a majority starts a stream
 *             (Boyer and Moore's vote; Maruf and Chowdhury, "Effectively Prefetching Remote Memory with Leap", 2020)
 *
 * Several streams are kept, so that loops over more than one array are recognized. The pages that a stream prefetches
 * do not fault, so a running stream faults once per window, and the window shares the cost.
 *
 * Cost: a few integer operations per fault. Without a pattern nothing is prefetched.
 */

const STREAMS = 8;
const HISTORY = 16;
/** First and largest window, in pages besides the one that faulted. */
const WINDOW_MIN = 3;
const WINDOW_MAX = 255;
/** Longest useful stride, in pages. */
const STRIDE_MAX = 64;

/** What to prefetch. The record is reused: valid until the next predict(). */
export interface Prediction {
  /** Pages besides the one that faulted. */
  count: number;
  /** Distance between them, in pages; negative for a backward stream. */
  stride: number;
}

export class Prefetch {
  readonly #pages: number;
  readonly #prediction: Prediction = { count: 0, stride: 1 };
  /** Streams: for each, the page whose fault continues it, its stride and its window. */
  readonly #expected: Int32Array = new Int32Array(STREAMS).fill(-1);
  readonly #strides: Int32Array = new Int32Array(STREAMS);
  readonly #windows: Int32Array = new Int32Array(STREAMS);
  /** The most recent faults, in a ring. */
  readonly #history: Int32Array = new Int32Array(HISTORY).fill(-1);
  #at = 0;
  #nextStream = 0;
  /** The stream of the last predict(), or -1. */
  #stream = -1;

  constructor(pages: number) {
    this.#pages = pages;
  }

  /** Call it once for each fault on a page that is not resident. */
  predict(page: number): Prediction {
    const prediction = this.#prediction;
    prediction.count = 0;
    prediction.stride = 1;
    this.#stream = this.#expected.indexOf(page);
    if (this.#stream === -1) this.#start(page);
    else this.#windows[this.#stream] = Math.min(this.#windows[this.#stream]! * 2 + 1, WINDOW_MAX);
    this.#history[this.#at] = page;
    this.#at = (this.#at + 1) % HISTORY;
    if (this.#stream === -1) return prediction;
    const stride = this.#strides[this.#stream]!;
    const fitting =
      stride > 0 ? Math.floor((this.#pages - 1 - page) / stride) : Math.floor(page / -stride);
    prediction.stride = stride;
    prediction.count = Math.min(this.#windows[this.#stream]!, fitting);
    return prediction;
  }

  /** Records that `count` of the predicted pages are or will be swapped in: the stream continues after them. */
  record(page: number, count: number): void {
    if (this.#stream === -1) return;
    this.#expected[this.#stream] = page + this.#strides[this.#stream]! * (count + 1);
  }

  #start(page: number): void {
    const stride = this.#vote(page);
    if (stride === 0) return;
    this.#stream = this.#nextStream;
    this.#nextStream = (this.#nextStream + 1) % STREAMS;
    this.#strides[this.#stream] = stride;
    this.#windows[this.#stream] = WINDOW_MIN;
  }

  /** The majority stride of the last 4, 8 or 16 faults; else 1 or -1 next to a recent fault; 0: no pattern. */
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

  /** The step between the i-th last fault and the one before it; 0 if there are fewer faults. */
  #strideAt(page: number, i: number): number {
    const to = i === 0 ? page : this.#history[(this.#at - i + HISTORY) % HISTORY]!;
    const from = this.#history[(this.#at - i - 1 + 2 * HISTORY) % HISTORY]!;
    return i + 1 > HISTORY || from < 0 || to < 0 ? 0 : to - from;
  }
}
