/**
 * What a process under frontswap/register prints and writes at exit: the line of FRONTSWAP_STATS and the file of
 * FRONTSWAP_REPORT. The lines per interval come from the fault thread (engine-watch.ts), which prints nothing after the line at exit.
 */
import { createRequire } from 'node:module';
import { formatSize } from '../base/size.ts';
import { printAtExit } from './at-exit.ts';
import type { WatchOptions } from './engine-watch.ts';
import type { MemorySwap } from './memory-swap.ts';
import type { OpenSwapOptions } from './open-swap.ts';
import type { ProcessClock } from './report-file.ts';
import { SampleLog } from './sample-log.ts';
import type { SwapStats } from './stats.ts';
import { parseStats, type ReportSetting, reportOf, type StatsSetting } from './watch-settings.ts';

/** Saved before the program runs: it may replace clocks, as tests with simulated time do. */
const { hrtime } = process;
const clock: ProcessClock = {
  startedAt: new Date(performance.timeOrigin).toISOString(),
  sinceStartMs: performance.now.bind(performance),
  monotonicMs: () => {
    const [seconds, nanoseconds] = hrtime();
    return seconds * 1000 + nanoseconds / 1e6;
  },
};

export class ProcessWatch {
  readonly #stats: StatsSetting;
  readonly #report: ReportSetting | null;
  /** Null: no lines per interval and no report. */
  readonly #log: SampleLog | null;

  /** @throws SwapError ERR_ARG_VALUE */
  constructor(env: NodeJS.ProcessEnv) {
    this.#stats = parseStats('FRONTSWAP_STATS', env['FRONTSWAP_STATS']);
    this.#report = reportOf(env, process.pid);
    this.#log = this.#stats.lineMs > 0 || this.#report !== null ? new SampleLog() : null;
  }

  /** For the fault thread; null: nothing to watch. */
  get options(): WatchOptions | null {
    return this.#log === null ? null : { log: this.#log.shared, lineMs: this.#stats.lineMs };
  }

  /**
   * @param swapNow the swap of the process; null: nothing is paged
   * @param countNow number of adopted memories
   */
  atExit(options: OpenSwapOptions, swapNow: () => MemorySwap | null, countNow: () => number): void {
    if (!this.#stats.atExit && this.#report === null) return;
    process.on('exit', (exitCode) => {
      const swap = swapNow();
      this.#log?.close(clock.sinceStartMs);
      const stats = swap === null ? null : finalStats(swap);
      if (this.#stats.atExit) printAtExit(summaryLine(stats, countNow()));
      const report = this.#report;
      if (report === null || this.#log === null || (stats === null && !report.isFirst)) return;
      const facts = { exitCode, memories: countNow(), options, stats, clock };
      loadReport().writeReport(report.path, this.#log, facts);
    });
  }
}

/** Loaded only at exit, because it contains the code of the page. */
function loadReport(): typeof import('./report-file.ts') {
  return createRequire(import.meta.url)('../memory/report-file.js');
}

function finalStats(swap: MemorySwap): SwapStats {
  swap.regions[0]?.prefetch({ offset: 0, length: 0 }); // any call makes the fault thread publish its statistics
  return swap.stats();
}

function summaryLine(stats: SwapStats | null, count: number): string {
  if (stats === null) return 'frontswap: 0 memories, nothing was paged\n';
  const { residentBytes, storedPages, usedBytes, pageIns, pageOuts, pagesDropped, faults } = stats;
  const files = stats.devicePages === 0 ? '' : `, ${formatSize(stats.devicePages * 4096)} in files`;
  return `frontswap: ${count} ${count === 1 ? 'memory' : 'memories'}, ${formatSize(residentBytes)} resident, ${formatSize(storedPages * 4096)} stored in ${formatSize(usedBytes)}${files}, ${pageIns} pages in, ${pageOuts + pagesDropped} out, ${faults} faults\n`;
}
