/**
 * Figures of the host's process: memory, processor time, descriptors, and how late its event loop runs. While the event loop is
 * late, every guest waits for its pages.
 *
 * Cost: readProcess() reads /proc and one directory entry per descriptor, 0.05 ms with few of them. EventLoopWatch uses a libuv
 * timer that runs 50 times a second in native code, and a JavaScript timer every ten seconds.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

export interface ProcessFigures {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  /** The heap of V8; pages and buffers are outside it. */
  readonly heapBytes: number;
  /** Unix time. */
  readonly startSeconds: number;
  /** Null: unknown on this system. */
  readonly openDescriptors: number | null;
  /** Null: unknown on this system; Infinity: no limit. */
  readonly maxDescriptors: number | null;
}

function descriptors(): Pick<ProcessFigures, 'openDescriptors' | 'maxDescriptors'> {
  try {
    const text = readFileSync('/proc/self/limits', 'utf8');
    const limit = /^Max open files\s+(\d+)/m.exec(text)?.[1];
    return {
      openDescriptors: readdirSync('/proc/self/fd').length - 1, // without the one that reads the folder
      maxDescriptors: limit === undefined ? Infinity : Number(limit),
    };
  } catch {
    return { openDescriptors: null, maxDescriptors: null };
  }
}

const startSeconds = Math.round(performance.timeOrigin) / 1000;

export function readProcess(): ProcessFigures {
  const { rss, heapTotal } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return {
    cpuSeconds: (user + system) / 1e6,
    residentBytes: rss,
    heapBytes: heapTotal,
    startSeconds,
    ...descriptors(),
  };
}

export const delayQuantiles = [0.5, 0.9, 0.99, 1] as const;

/** How late the event loop ran a timer. */
export interface EventLoopFigures {
  /** Seconds, one for each of delayQuantiles, of the last complete window; NaN before the first sample. */
  readonly quantiles: readonly number[];
  /** Seconds, and number of samples, of all complete windows. */
  readonly sumSeconds: number;
  readonly count: number;
}

const RESOLUTION_MS = 20;
const WINDOW_MS = 10_000;
const NS_PER_SECOND = 1e9;

/** The monitor records the time between two runs of its timer, so its resolution is subtracted. */
const delaySeconds = (ns: number): number => Math.max(0, ns - RESOLUTION_MS * 1e6) / NS_PER_SECOND;

/** Measures the delay of the event loop in windows of ten seconds. Does not keep the process alive. */
export class EventLoopWatch implements Disposable {
  readonly #monitor: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #timer: NodeJS.Timeout;
  #quantiles: readonly number[] | null = null;
  #sumSeconds = 0;
  #count = 0;

  constructor(windowMs: number = WINDOW_MS) {
    this.#monitor.enable();
    this.#timer = setInterval(() => this.#endWindow(), windowMs);
    this.#timer.unref();
  }

  figures(): EventLoopFigures {
    return {
      quantiles: this.#quantiles ?? this.#quantilesNow(),
      sumSeconds: this.#sumSeconds,
      count: this.#count,
    };
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#monitor.disable();
  }

  #quantilesNow(): readonly number[] {
    if (this.#monitor.count === 0) return delayQuantiles.map(() => NaN);
    return delayQuantiles.map((q) => delaySeconds(this.#monitor.percentile(q * 100)));
  }

  #endWindow(): void {
    const { count, mean } = this.#monitor;
    this.#quantiles = this.#quantilesNow();
    if (count > 0) this.#sumSeconds += delaySeconds(mean) * count;
    this.#count += count;
    this.#monitor.reset(); // drops one sample, which is in progress
  }
}
