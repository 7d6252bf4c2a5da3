/** Writes the report of FRONTSWAP_REPORT when the process exits; loaded only then. */
import { writeFileSync } from 'node:fs';
import { printAtExit } from './at-exit.ts';
import type { OpenSwapOptions } from './open-swap.ts';
import { makeReport, type Report } from './report.ts';
import { renderReport } from './report-page.ts';
import type { SampleLog } from './sample-log.ts';
import type { SwapStats } from './stats.ts';

export interface ProcessClock {
  /** Start of the process, ISO 8601. */
  readonly startedAt: string;
  sinceStartMs(): number;
  /** CLOCK_MONOTONIC, as the fault thread reads it. */
  monotonicMs(): number;
}

export interface ExitFacts {
  readonly exitCode: number;
  readonly memories: number;
  readonly options: OpenSwapOptions;
  readonly stats: SwapStats | null;
  readonly clock: ProcessClock;
}

/** Never throws: a report that cannot be written must not change the exit of the program. */
export function writeReport(path: string, log: SampleLog, facts: ExitFacts): void {
  try {
    const report = makeReport(log, { ...factsOfProcess(facts), nowMs: facts.clock.monotonicMs() });
    const text = path.endsWith('.json') ? `${JSON.stringify(report)}\n` : renderReport(report);
    writeFileSync(path, text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    printAtExit(`frontswap: the report was not written: ${why}\n`);
  }
}

function factsOfProcess({ exitCode, memories, options, stats, clock }: ExitFacts): {
  readonly process: Report['process'];
  readonly settings: Report['settings'];
  readonly memories: number;
  readonly stats: SwapStats | null;
} {
  return {
    process: {
      pid: process.pid,
      parentPid: process.ppid,
      argv: Array.from(process.argv, wordOf),
      nodeVersion: process.version,
      startedAt: clock.startedAt,
      durationMs: Math.round(clock.sinceStartMs()),
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

/** A program may put other values in process.argv. */
const wordOf = (word: unknown): string => (typeof word === 'object' ? '' : String(word));
