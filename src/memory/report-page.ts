/**
 * The report as one HTML page: plots as inline SVG and a table of totals. The page loads nothing and runs no script (a content
 * security policy forbids both), follows the reader's light or dark mode, and has one column on a phone.
 *
 * Everything that comes from the program (argv, versions) is escaped.
 */
import { basename } from 'node:path';
import { formatSize } from '../base/size.ts';
import { type Chart, renderChart, type Series } from '../chart/chart.ts';
import { escapeXml } from '../chart/svg.ts';
import type { Report } from './report.ts';
import { Column } from './sample-log.ts';

const MIB = 2 ** 20;
const WIDTH = 440;
const X_TICKS = 6;

type Point = readonly [number, number];
type Rows = Report['samples']['rows'];

/** Unit of the time axis: the largest unit that fits at least three times into the run. */
function timeUnit(rows: Rows): { readonly name: string; readonly ms: number } {
  const end = rows.at(-1)?.[Column.atMs] ?? 0;
  if (end >= 3 * 3_600_000) return { name: 'hours', ms: 3_600_000 };
  if (end >= 3 * 60_000) return { name: 'minutes', ms: 60_000 };
  return { name: 'seconds', ms: 1000 };
}

/**
 * The increase of a counter per millisecond for each interval: a value at the start of each interval, and the last value also
 * at the end.
 */
function rates(rows: Rows, column: number, unitMs: number, factor: number): Point[] {
  const points = rows.slice(1).flatMap((row, i): Point[] => {
    const before = rows[i]!;
    const ms = row[Column.atMs]! - before[Column.atMs]!;
    const rate = ((row[column]! - before[column]!) / ms) * factor;
    return ms > 0 ? [[before[Column.atMs]! / unitMs, rate]] : [];
  });
  const last = points.at(-1);
  if (last !== undefined) points.push([rows.at(-1)![Column.atMs]! / unitMs, last[1]]);
  return points;
}

const highest = (points: readonly Point[]): number =>
  points.reduce((high, [, value]) => Math.max(high, value), 0);

interface Plot {
  readonly id: string;
  readonly title: string;
  readonly yLabel: string;
  readonly description: string;
  readonly series: readonly Series[];
}

function memoryPlot(rows: Rows, unitMs: number): Plot {
  const line = (look: number, name: string, column: number): Series => ({
    name,
    look,
    points: rows.map((row) => [row[Column.atMs]! / unitMs, row[column]! / MIB]),
  });
  const series = [
    line(0, 'resident', Column.residentBytes),
    line(1, 'stored', Column.storedBytes),
    line(2, 'compressed', Column.usedBytes),
  ];
  const peaks = series.map(({ name, points }) => `${name} ${highest(points).toFixed(1)} MiB`);
  return {
    ...{ id: 'memory', title: 'Memory', yLabel: 'MiB', series },
    description: `Resident, stored (uncompressed size) and compressed memory over time. Highest: ${peaks.join(', ')}.`,
  };
}

function ratePlots(rows: Rows, unitMs: number): Plot[] {
  const rate = (look: number, name: string, column: number, factor: number): Series => ({
    ...{ name, look, isStep: true },
    points: rates(rows, column, unitMs, factor),
  });
  const faults = rate(0, 'faults', Column.faults, 1000);
  const stalled = rate(0, 'stalled', Column.stalledMs, 100);
  const pages = [
    rate(0, 'pages in', Column.pageIns, 1000),
    rate(1, 'pages out', Column.pageOuts, 1000),
  ];
  return [
    {
      ...{ id: 'faults', title: 'Faults', yLabel: 'per second', series: [faults] },
      description: `Faults per second over time; highest ${Math.round(highest(faults.points))}.`,
    },
    {
      ...{ id: 'stalls', title: 'Time stalled in faults', yLabel: '%', series: [stalled] },
      description: `Share of the time that was spent in faults; highest ${highest(stalled.points).toFixed(1)} %.`,
    },
    {
      ...{ id: 'pages', title: 'Pages in and out', yLabel: 'per second', series: pages },
      description: `Pages swapped in and evicted per second; highest ${pages.map(({ points }) => Math.round(highest(points))).join(' and ')}.`,
    },
  ];
}

function chartOf({ id, title, yLabel, description, series }: Plot, xLabel: string): Chart {
  return {
    ...{ id: `${id}-`, title, description, width: WIDTH, notes: [] },
    panels: [
      {
        x: { label: xLabel, include: [0], tickCount: X_TICKS },
        y: { label: yLabel, include: [0, 1], format: shortCount },
        series,
      },
    ],
  };
}

/** Longer labels would not fit beside the plot. */
const shortCount = (value: number): string =>
  value >= 1e6 ? `${value / 1e6}M` : value >= 10_000 ? `${value / 1000}k` : count(value);

const count = (value: number): string => value.toLocaleString('en-US');
const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;

/** Name, value. */
type Row = readonly [string, string];

function totalRows({ process, settings, memories, totals, peaks }: Report): Row[] {
  const share = process.durationMs === 0 ? 0 : (totals.stalledMs / process.durationMs) * 100;
  return [
    ['Run time', seconds(process.durationMs)],
    ['Exit status', String(process.exitCode)],
    ['Peak RSS of the process', formatSize(process.maxRssBytes)],
    ['Memories paged', count(memories)],
    ['Resident budget', formatSize(settings.residentBytes)],
    [
      'Limit of compressed RAM',
      settings.limitBytes === 0 ? 'none' : formatSize(settings.limitBytes),
    ],
    ['Swap file', settings.fileBytes === 0 ? 'none' : formatSize(settings.fileBytes)],
    ['Highest resident', formatSize(peaks.residentBytes)],
    ['Highest stored, uncompressed', formatSize(peaks.storedBytes)],
    ['Highest compressed', formatSize(peaks.usedBytes)],
    ['Highest resident and compressed together', formatSize(peaks.ramBytes)],
    ['Faults', count(totals.faults)],
    [
      'Time stalled in faults',
      `${seconds(totals.stalledMs)} (${share.toFixed(1)} % of the run time)`,
    ],
    ['Pages swapped in', count(totals.pageIns)],
    ['Pages swapped out', count(totals.pageOuts)],
    ['Pages dropped because their stored copy was valid', count(totals.pagesDropped)],
    ['Pages over the budget', count(totals.overBudget)],
    ['Evictions refused', count(totals.refused)],
  ];
}

const table = (caption: string, rows: readonly Row[]): string =>
  `<table>\n<caption>${caption}</caption>\n<tbody>\n${rows
    .map(([name, value]) => `<tr><th scope="row">${name}</th><td>${escapeXml(value)}</td></tr>`)
    .join('\n')}\n</tbody>\n</table>`;

const style = `
:root{color-scheme:light dark;--text:#1f2328;--note:#59636e;--page:#fff;--edge:#d8dee4}
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--note:#9198a1;--page:#0d1117;--edge:#30363d}}
body{margin:0 auto;max-width:940px;padding:16px;background:var(--page);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",Ubuntu,sans-serif}
h1{font-size:22px;margin:0 0 4px;overflow-wrap:anywhere}
p{margin:4px 0;color:var(--note)}
code{font-family:ui-monospace,monospace;font-size:13px;overflow-wrap:anywhere;white-space:pre-wrap}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:8px 24px;margin:16px 0}
.plots svg{width:100%;height:auto}
table{border-collapse:collapse;width:100%}
caption{text-align:left;font-weight:600;padding:8px 0}
th,td{padding:4px 8px 4px 0;border-top:1px solid var(--edge);text-align:left;font-weight:400;vertical-align:top}
td{text-align:right;font-variant-numeric:tabular-nums}
`;

export function renderReport(report: Report): string {
  const { process, samples, memories } = report;
  const { rows } = samples;
  const unit = timeUnit(rows);
  const plots = [memoryPlot(rows, unit.ms), ...ratePlots(rows, unit.ms)];
  const program = escapeXml(basename(process.argv[1] ?? process.argv[0] ?? ''));
  const title = `Paging of ${program}`;
  const figures =
    memories === 0
      ? '<p>Nothing was paged in this process. Node programs that it started write reports with their process id in the name.</p>'
      : `<div class="plots">\n${plots.map((plot) => `<div>${renderChart(chartOf(plot, unit.name))}</div>`).join('\n')}\n</div>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p><code>${escapeXml(process.argv.join(' '))}</code></p>
<p>Process ${process.pid}, Node ${escapeXml(process.nodeVersion)}, started ${escapeXml(process.startedAt)}. Time in the plots starts with the first paged memory.</p>
${figures}
${table('Totals', totalRows(report))}
</main>
</body>
</html>
`;
}
