/** Writes the report of FRONTSWAP_REPORT when the process exits; loaded only then. */
import { writeFileSync, writeSync } from 'node:fs';
import type { OpenSwapOptions } from './open-swap.ts';
import { makeReport, type Report } from './report.ts';
import { renderReport } from './report-page.ts';
import type { SampleLog } from './sample-log.ts';
import type { SwapStats } from './stats.ts';

export interface ExitFacts {
  readonly exitCode: number;
  readonly memories: number;
  readonly options: OpenSwapOptions;
  readonly stats: SwapStats | null;
}

/** Never throws: a report that cannot be written must not change the exit of the program. */
export function writeReport(path: string, log: SampleLog, facts: ExitFacts): void {
  try {
    const report = makeReport(log, { ...factsOfProcess(facts), nowMs: monotonicMs() });
    const text = path.endsWith('.json') ? `${JSON.stringify(report)}\n` : renderReport(report);
    writeFileSync(path, text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    writeSync(2, `frontswap: the report was not written: ${why}\n`);
  }
}

function factsOfProcess({ exitCode, memories, options, stats }: ExitFacts): {
  readonly process: Report['process'];
  readonly settings: Report['settings'];
  readonly memories: number;
  readonly stats: SwapStats | null;
} {
  return {
    process: {
      pid: process.pid,
      parentPid: process.ppid,
      argv: process.argv,
      nodeVersion: process.version,
      startedAt: new Date(performance.timeOrigin).toISOString(),
      durationMs: Math.round(performance.now()),
      maxRssBytes: process.resourceUsage().maxRSS * 1024,
      exitCode,
    },
    settings: {
      residentBytes: options.residentBytes ?? 0,
      limitBytes: stats?.limitBytes ?? options.frontswap?.limitBytes ?? 0,
      fileBytes: options.devices?.[0]?.sizeBytes ?? 0,
      sameCore: options.sameCore === true,
    },
    memories,
    stats,
  };
}

/** CLOCK_MONOTONIC, as the fault thread reads it. */
function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}
