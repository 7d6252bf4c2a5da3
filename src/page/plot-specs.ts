/** The plots of the page, as a table. */
import { formatBytes, formatCount, formatRatio, formatSeconds } from './format.ts';
import type { History } from './history.ts';
import type { SampleColumn, SampleValue } from './wire.ts';

interface Series {
  readonly name: string;
  readonly values: (history: History) => readonly SampleValue[];
}

export interface PlotSpec {
  readonly title: string;
  readonly format: (value: number) => string;
  /** The axis starts at 0 and reaches at least this. */
  readonly top: number;
  /** Steps of the axis are powers of two. */
  readonly isBinary: boolean;
  /** Areas on top of each other; the first series is the highest. */
  readonly isStacked: boolean;
  readonly series: readonly Series[];
}

const of =
  (column: SampleColumn): Series['values'] =>
  (history) =>
    history.column(column);

const MEAN_SAMPLES = 10;

/** The mean of a rate over the last ten seconds: single seconds differ too much for a readable line. */
const meanOf =
  (column: SampleColumn): Series['values'] =>
  (history) => {
    let sum = 0;
    const values = history.column(column);
    return values.map((value, i) => {
      sum += (value ?? 0) - (i >= MEAN_SAMPLES ? (values[i - MEAN_SAMPLES] ?? 0) : 0);
      return Math.max(0, Math.round((sum / Math.min(i + 1, MEAN_SAMPLES)) * 10) / 10);
    });
  };

/** Data divided by memory, like COMP-RATIO on the command line. */
function ratios(history: History): SampleValue[] {
  const used = history.column('usedBytes');
  return history.column('dataBytes').map((data, i) => {
    const memory = used[i] ?? 0;
    return data === null || data === 0 || memory === 0 ? null : data / memory;
  });
}

const MiB = 2 ** 20;
const plot = (
  title: string,
  format: PlotSpec['format'],
  series: readonly Series[],
  more: Partial<PlotSpec> = {},
): PlotSpec => ({ title, format, series, top: 1, isBinary: false, isStacked: false, ...more });
const ofBytes = { isBinary: true, top: MiB };

export const plotSpecs: readonly PlotSpec[] = [
  plot(
    'Memory',
    formatBytes,
    [
      { name: 'Stored data', values: of('dataBytes') },
      { name: 'Memory of disks', values: of('usedBytes') },
      { name: 'Resident, host', values: of('residentBytes') },
    ],
    ofBytes,
  ),
  plot(
    'Where pages are',
    formatBytes,
    [
      { name: 'On the backing', values: of('backingBytes') },
      { name: 'Full pages', values: of('fullPagesBytes') },
      { name: 'Compressed', values: of('compressiblePagesBytes') },
      { name: 'Same-filled', values: of('sameFilledBytes') },
    ],
    { ...ofBytes, isStacked: true },
  ),
  plot('Compression ratio', formatRatio, [{ name: 'Stored data / memory', values: ratios }]),
  plot(
    'Requests per second, 10 s mean',
    formatCount,
    [
      { name: 'Reads', values: meanOf('reads') },
      { name: 'Writes', values: meanOf('writes') },
      { name: 'Frees', values: meanOf('discards') },
    ],
    { top: 10 },
  ),
  plot(
    'Latency of frees',
    formatSeconds,
    [
      { name: '99 % are below', values: of('freeP99') },
      { name: 'Median', values: of('freeP50') },
    ],
    { top: 1e-5 },
  ),
  plot(
    'Refused per second, 10 s mean',
    formatCount,
    [{ name: 'Refused requests', values: meanOf('refusals') }],
    {
      top: 10,
    },
  ),
  plot('Clients', formatCount, [{ name: 'Connections', values: of('clients') }], { top: 4 }),
  plot(
    'Delay of the event loop',
    formatSeconds,
    [{ name: '99 % are below', values: of('loopP99') }],
    { top: 0.01 },
  ),
];
