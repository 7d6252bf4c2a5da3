/**
 * The history of a swap: the fault thread adds samples to one SharedArrayBuffer of fixed size, and the main thread reads them
 * at exit.
 *
 *   0       words: gate, number of samples
 *   64      doubles: interval of the samples, highest values, time stalled in faults (Summary)
 *   256     SAMPLES_MAX rows of SAMPLE_COLUMNS doubles (Column)
 *
 * When the log is full, each pair of neighbouring samples becomes one, and the interval doubles. Counters and time are those of
 * the second sample; sizes are the larger of the two. So a long run has between SAMPLES_MAX / 2 and SAMPLES_MAX samples,
 * whatever its length.
 *
 * The gate orders the fault thread's writes (samples, lines on stderr) and the main thread's exit: after close() the fault
 * thread writes nothing. No lock of the program is involved, and the fault thread never waits for the gate.
 */
import { assert } from '../base/assert.ts';

/** An even number, because samples are merged in pairs. */
export const SAMPLES_MAX = 512;
/** Shortest interval of the samples of a short run; an idle fault thread adds one per poll. */
export const SAMPLE_MS_MIN = 50;

/** Columns of a sample, in the order of the report. Sizes are bytes, now; counters are since the first memory. */
export const Column = {
  /** Time since the engine started, ms. */
  atMs: 0,
  residentBytes: 1,
  /** Swapped-out pages, uncompressed: in compressed RAM and on devices. */
  storedBytes: 2,
  /** Compressed pages and their tables. */
  usedBytes: 3,
  faults: 4,
  stalledMs: 5,
  pageIns: 6,
  /** Evicted pages: swapped out, or dropped because their stored copy was valid. */
  pageOuts: 7,
} as const;
export const columnNames: readonly string[] = Object.keys(Column);
export const SAMPLE_COLUMNS: number = columnNames.length;

/** Doubles before the rows. */
export const Summary = {
  intervalMs: 0,
  stalledMs: 1,
  peakResidentBytes: 2,
  peakUsedBytes: 3,
  /** Highest sum of residentBytes and usedBytes in one sample. */
  peakRamBytes: 4,
  peakStoredBytes: 5,
  /** When the engine started, by CLOCK_MONOTONIC, which process.hrtime() also reads. */
  startMs: 6,
} as const;

const Word = { gate: 0, count: 1 } as const;
const Gate = { open: 0, writing: 1, closed: 2 } as const;
const SUMMARY_AT = 64;
const ROWS_AT = 256;
const LOG_BYTES = ROWS_AT + SAMPLES_MAX * SAMPLE_COLUMNS * 8;
/**
 * Maximum wait for the gate: a writer holds it for microseconds, but a thread that was terminated while it wrote never opens
 * it.
 */
const CLOSE_MS_MAX = 200;

const maxima = [Column.residentBytes, Column.storedBytes, Column.usedBytes] as const;

export class SampleLog {
  readonly shared: SharedArrayBuffer;
  readonly summary: Float64Array;
  readonly #words: Int32Array;
  readonly #rows: Float64Array;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(LOG_BYTES)) {
    this.shared = shared;
    this.#words = new Int32Array(shared, 0, 2);
    this.summary = new Float64Array(shared, SUMMARY_AT, Object.keys(Summary).length);
    this.#rows = new Float64Array(shared, ROWS_AT);
    if (this.summary[Summary.intervalMs] === 0) this.summary[Summary.intervalMs] = SAMPLE_MS_MIN;
  }

  get count(): number {
    return this.#words[Word.count]!;
  }

  /** The samples, oldest first. Allocates. */
  samples(): number[][] {
    return Array.from({ length: this.count }, (_, i) => [
      ...this.#rows.subarray(i * SAMPLE_COLUMNS, (i + 1) * SAMPLE_COLUMNS),
    ]);
  }

  /** Adds a sample. Allocates nothing. @param row SAMPLE_COLUMNS doubles */
  add(row: Float64Array): void {
    assert(row.length === SAMPLE_COLUMNS, 'row has SAMPLE_COLUMNS values');
    if (this.count === SAMPLES_MAX) this.#halve();
    this.#rows.set(row, this.count * SAMPLE_COLUMNS);
    this.#words[Word.count] = this.count + 1;
    this.#raise(Summary.peakResidentBytes, row[Column.residentBytes]!);
    this.#raise(Summary.peakStoredBytes, row[Column.storedBytes]!);
    this.#raise(Summary.peakUsedBytes, row[Column.usedBytes]!);
    this.#raise(Summary.peakRamBytes, row[Column.residentBytes]! + row[Column.usedBytes]!);
  }

  /** The fault thread's side: true: write now, then leave(). False: the log is closed. */
  enter(): boolean {
    return Atomics.compareExchange(this.#words, Word.gate, Gate.open, Gate.writing) === Gate.open;
  }

  leave(): void {
    Atomics.compareExchange(this.#words, Word.gate, Gate.writing, Gate.open);
  }

  /** The main thread's side: from now on the fault thread writes nothing. */
  close(nowMs: () => number): void {
    const end = nowMs() + CLOSE_MS_MAX;
    while (
      Atomics.compareExchange(this.#words, Word.gate, Gate.open, Gate.closed) === Gate.writing &&
      nowMs() < end
    );
  }

  #raise(at: number, value: number): void {
    if (value > this.summary[at]!) this.summary[at] = value;
  }

  #halve(): void {
    const rows = this.#rows;
    for (let to = 0; to < SAMPLES_MAX / 2; to++) {
      const first = to * 2 * SAMPLE_COLUMNS;
      const second = first + SAMPLE_COLUMNS;
      for (let i = 0; i < maxima.length; i++) {
        const column = maxima[i]!;
        rows[second + column] = Math.max(rows[first + column]!, rows[second + column]!);
      }
      rows.copyWithin(to * SAMPLE_COLUMNS, second, second + SAMPLE_COLUMNS);
    }
    this.#words[Word.count] = SAMPLES_MAX / 2;
    this.summary[Summary.intervalMs]! *= 2;
  }
}
