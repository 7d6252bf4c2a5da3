/**
 * Watches an engine for FRONTSWAP_STATS and FRONTSWAP_REPORT, on the fault thread: measures stall time, adds samples to the
 * log, and prints a line on stderr per interval. Lines appear even while the main thread computes or waits.
 *
 * Stall time is the time during which faults are served, when at least one thread of the program waits. It includes reading and
 * decompressing pages and making space for them, and excludes waking the two threads. Native code measures its own stall time
 * (native/calls.h): threads that wait at the same time count once.
 *
 * Cost: two clock reads per batch of faults and one per step, about 50 ns each; a sample allocates nothing. A line
 * allocates its text. Engines that are not watched pay a comparison with null.
 */
import { formatSize } from '../base/size.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { MonotonicClock } from '../os/linux/monotonic-clock.ts';
import { Poller, Ready } from '../os/linux/poll.ts';
import { Process } from '../os/linux/process.ts';
import type { Linux } from '../os/linux/system-call.ts';
import { SwapStat } from './control-block.ts';
import { Column, SAMPLE_COLUMNS, SampleLog, Summary } from './sample-log.ts';

/** What to watch; passed to the fault thread. */
export interface WatchOptions {
  /** Buffer of the SampleLog. */
  readonly log: SharedArrayBuffer;
  /** Interval of lines on stderr, ms; 0 = no lines. */
  readonly lineMs: number;
}

const STDERR = 2;

export class EngineWatch {
  readonly #clock: MonotonicClock;
  readonly #stderr: Poller;
  readonly #process: Process;
  readonly #log: SampleLog;
  readonly #lineMs: number;
  readonly #row = new Float64Array(SAMPLE_COLUMNS);
  /** The row of the last line. */
  readonly #lastLine = new Float64Array(SAMPLE_COLUMNS);
  /** Times, ms, by index: a field with a double would allocate one per write. */
  readonly #times = new Float64Array(Object.keys(At).length);

  constructor(linux: Linux, { log, lineMs }: WatchOptions) {
    this.#clock = new MonotonicClock(linux);
    this.#stderr = new Poller(linux, [STDERR], Ready.writable);
    this.#process = new Process(linux);
    this.#log = new SampleLog(log);
    this.#lineMs = lineMs;
    const now = this.#clock.nowMs();
    this.#times[At.start] = now;
    this.#log.summary[Summary.startMs] = now;
    this.#times[At.nextSample] = now;
    this.#times[At.nextLine] = lineMs === 0 ? Number.POSITIVE_INFINITY : now + lineMs;
  }

  /** Faults have been read; their threads wait. */
  beginFaults(): void {
    this.#times[At.faults] = this.#clock.nowMs();
  }

  /** The faults are resolved. */
  endFaults(): void {
    this.#log.summary[Summary.stalledMs]! += this.#clock.nowMs() - this.#times[At.faults]!;
  }

  /** Native code serves faults; sets the time that it has measured since the start. */
  setStalled(ms: number): void {
    this.#log.summary[Summary.stalledMs] = ms;
  }

  /**
   * Time until a line is due, at most `limitMs`. Samples shorten a poll only if native code serves faults: otherwise nothing
   * changes before the poll ends.
   */
  timeout(limitMs: number, isNative: boolean): number {
    const line = this.#times[At.nextLine]!;
    const next = isNative ? Math.min(line, this.#times[At.nextSample]!) : line;
    const left = next - this.#clock.nowMs();
    return Math.max(0, Math.min(limitMs, Math.ceil(left)));
  }

  isDue(): boolean {
    const now = this.#clock.nowMs();
    return now >= this.#times[At.nextSample]! || now >= this.#times[At.nextLine]!;
  }

  /** Adds the sample and prints the line, if due. @param stats of the swap, by SwapStat, up to date */
  record(stats: Float64Array): void {
    if (!this.#log.enter()) {
      this.#stop();
      return;
    }
    const times = this.#times;
    const now = this.#clock.nowMs();
    fillSample(this.#row, stats, this.#log.summary[Summary.stalledMs]!);
    this.#row[Column.atMs] = now - times[At.start]!;
    if (now >= times[At.nextSample]!) {
      this.#log.add(this.#row);
      times[At.nextSample] = now + this.#log.summary[Summary.intervalMs]!;
    }
    if (now >= times[At.nextLine]!) {
      this.#print();
      times[At.nextLine] = lineAfter(times[At.nextLine]!, now, this.#lineMs);
    }
    this.#log.leave();
  }

  /** Drops a line if writing it would wait for the reader of stderr, because faults would wait, too. */
  #print(): void {
    const ready = this.#stderr.wait(0) > 0 && (this.#stderr.readiness(0) & Ready.writable) !== 0;
    if (ready) this.#process.writeStderr(lineOf(this.#lastLine, this.#row));
    this.#lastLine.set(this.#row);
  }

  #stop(): void {
    this.#times[At.nextSample] = Number.POSITIVE_INFINITY;
    this.#times[At.nextLine] = Number.POSITIVE_INFINITY;
  }
}

const At = { start: 0, faults: 1, nextSample: 2, nextLine: 3 } as const;

/** When the next line is due. After a pause (SIGSTOP), no line follows immediately: its rates would cover only a moment. */
export function lineAfter(dueMs: number, nowMs: number, lineMs: number): number {
  const next = dueMs + lineMs;
  return next > nowMs ? next : nowMs + lineMs;
}

/** Fills all columns but `atMs`. */
function fillSample(row: Float64Array, stats: Float64Array, stalledMs: number): void {
  row[Column.residentBytes] = stats[SwapStat.resident]! * PAGE_BYTES;
  row[Column.storedBytes] =
    (stats[SwapStat.storedPages]! + stats[SwapStat.devicePages]!) * PAGE_BYTES;
  row[Column.usedBytes] = stats[SwapStat.usedBytes]!;
  row[Column.faults] = stats[SwapStat.faults]!;
  row[Column.stalledMs] = stalledMs;
  row[Column.pageIns] = stats[SwapStat.pagesIn]!;
  row[Column.pageOuts] = stats[SwapStat.pagesOut]! + stats[SwapStat.pagesDropped]!;
}

/** The line for the interval between two samples. */
export function lineOf(before: Float64Array, now: Float64Array): string {
  const since = (column: number): number => now[column]! - before[column]!;
  const seconds = since(Column.atMs) / 1000;
  const size = (column: number): string => formatSize(now[column]!);
  const rate = Math.round(since(Column.faults) / seconds);
  const share = (since(Column.stalledMs) / since(Column.atMs)) * 100;
  return `frontswap: ${size(Column.residentBytes)} resident, ${size(Column.storedBytes)} stored in ${size(Column.usedBytes)}, ${rate} faults/s, ${share.toFixed(1)}% stalled, ${since(Column.pageOuts)} pages out\n`;
}
