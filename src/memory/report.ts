/** The report of a process: docs/reference/report.md describes each field. */
import { Column, columnNames, SAMPLE_COLUMNS, type SampleLog, Summary } from './sample-log.ts';
import type { SwapStats } from './stats.ts';

const REPORT_SCHEMA_VERSION = 1;

export interface Report {
  readonly schemaVersion: typeof REPORT_SCHEMA_VERSION;
  readonly process: {
    readonly pid: number;
    readonly parentPid: number;
    readonly argv: readonly string[];
    readonly nodeVersion: string;
    /** ISO 8601. */
    readonly startedAt: string;
    readonly durationMs: number;
    /** Peak RSS: getrusage(2). */
    readonly maxRssBytes: number;
    readonly exitCode: number;
  };
  readonly settings: {
    readonly residentBytes: number;
    /** 0: none. */
    readonly limitBytes: number;
    /** Size of the swap file; 0: none. */
    readonly fileBytes: number;
    readonly sameCore: boolean;
  };
  /** Number of adopted memories; 0: nothing was paged, and all figures are 0. */
  readonly memories: number;
  readonly totals: {
    readonly faults: number;
    readonly stalledMs: number;
    readonly pageIns: number;
    readonly pageOuts: number;
    readonly pagesDropped: number;
    readonly overBudget: number;
    readonly refused: number;
  };
  /** Highest values of the samples. */
  readonly peaks: {
    readonly residentBytes: number;
    readonly storedBytes: number;
    readonly usedBytes: number;
    readonly ramBytes: number;
  };
  readonly samples: {
    /** Shortest interval between two samples. */
    readonly intervalMs: number;
    readonly columns: readonly string[];
    readonly rows: readonly (readonly number[])[];
  };
}

/** Facts about the process, besides the samples. */
export interface ReportFacts {
  readonly process: Report['process'];
  readonly settings: Report['settings'];
  readonly memories: number;
  /** At exit; null: nothing was paged. */
  readonly stats: SwapStats | null;
  /** By CLOCK_MONOTONIC. */
  readonly nowMs: number;
}

/** Adds a last sample, taken at the end of the run, to a closed log, and returns the report. */
export function makeReport(log: SampleLog, facts: ReportFacts): Report {
  const { stats, nowMs } = facts;
  const { summary } = log;
  if (stats !== null) log.add(rowOf(stats, nowMs - summary[Summary.startMs]!, summary));
  return {
    schemaVersion: REPORT_SCHEMA_VERSION,
    process: facts.process,
    settings: facts.settings,
    memories: facts.memories,
    totals: {
      faults: stats?.faults ?? 0,
      stalledMs: rounded(summary[Summary.stalledMs]!),
      pageIns: stats?.pageIns ?? 0,
      pageOuts: stats?.pageOuts ?? 0,
      pagesDropped: stats?.pagesDropped ?? 0,
      overBudget: stats?.overBudget ?? 0,
      refused: stats?.refused ?? 0,
    },
    peaks: {
      residentBytes: summary[Summary.peakResidentBytes]!,
      storedBytes: summary[Summary.peakStoredBytes]!,
      usedBytes: summary[Summary.peakUsedBytes]!,
      ramBytes: summary[Summary.peakRamBytes]!,
    },
    samples: {
      intervalMs: summary[Summary.intervalMs]!,
      columns: columnNames,
      rows: log.samples().map((row) => row.map(rounded)),
    },
  };
}

function rowOf(stats: SwapStats, atMs: number, summary: Float64Array): Float64Array {
  const row = new Float64Array(SAMPLE_COLUMNS);
  row[Column.atMs] = atMs;
  row[Column.residentBytes] = stats.residentBytes;
  row[Column.storedBytes] = (stats.storedPages + stats.devicePages) * 4096;
  row[Column.usedBytes] = stats.usedBytes;
  row[Column.faults] = stats.faults;
  row[Column.stalledMs] = summary[Summary.stalledMs]!;
  row[Column.pageIns] = stats.pageIns;
  row[Column.pageOuts] = stats.pageOuts + stats.pagesDropped;
  return row;
}

/** To a thousandth: the clock's other digits are noise. */
const rounded = (value: number): number => Math.round(value * 1000) / 1000;
