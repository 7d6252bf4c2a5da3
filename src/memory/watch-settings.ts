/**
 * FRONTSWAP_STATS and FRONTSWAP_REPORT: what a process reports about its paging, on stderr and in a file.
 *
 *   FRONTSWAP_STATS   1: a line at exit; a duration: also a line per interval
 *   FRONTSWAP_REPORT  FILE.html or FILE.json, written at exit
 *
 * Each process writes its own file. FILE belongs to the process that `frontswap run` became (exec), or else to the first process that
 * reads the variable; FRONTSWAP_REPORT_PID is the id of that process. Other processes insert their id: FILE.4711.html.
 */
import { extname, resolve } from 'node:path';
import { parseDuration } from '../base/duration.ts';
import { SwapError } from '../base/errors.ts';

export interface StatsSetting {
  readonly atExit: boolean;
  /** Interval of lines, ms; 0 = none. */
  readonly lineMs: number;
}

/** Minimum interval: longer than a poll of a busy engine takes; more lines would not be readable. */
export const LINE_MS_MIN = 100;

/** @throws SwapError ERR_ARG_VALUE */
export function parseStats(key: string, text: string | undefined): StatsSetting {
  if (text === undefined || text === '' || text === '0') return { atExit: false, lineMs: 0 };
  if (text === '1') return { atExit: true, lineMs: 0 };
  return { atExit: true, lineMs: parseDuration(key, text, LINE_MS_MIN) };
}

/** Returns the absolute path. @throws SwapError ERR_ARG_VALUE: neither .html nor .json */
export function parseReport(key: string, path: string): string {
  const extension = extname(path);
  if (extension === '.html' || extension === '.json') return resolve(path);
  throw new SwapError(
    'ERR_ARG_VALUE',
    `${key}: '${path}' must end with .html (a page with plots) or .json (the data)`,
    { key, value: path },
  );
}

export interface ReportSetting {
  /** The file of this process. */
  readonly path: string;
  /** True: the file has no process id in its name. */
  readonly isFirst: boolean;
}

/**
 * The report of process `pid`; null: none. Makes the path absolute in `env` for processes that this one starts, and sets
 * FRONTSWAP_REPORT_PID to this process if it is not set.
 * @throws SwapError ERR_ARG_VALUE
 */
export function reportOf(env: NodeJS.ProcessEnv, pid: number): ReportSetting | null {
  const given = env['FRONTSWAP_REPORT'];
  if (given === undefined || given === '') return null;
  const path = parseReport('FRONTSWAP_REPORT', given);
  env['FRONTSWAP_REPORT'] = path;
  env['FRONTSWAP_REPORT_PID'] ||= String(pid);
  const isFirst = env['FRONTSWAP_REPORT_PID'] === String(pid);
  const extension = extname(path);
  const stem = path.slice(0, -extension.length);
  return { path: isFirst ? path : `${stem}.${pid}${extension}`, isFirst };
}
