/** The columns of `list`: zramctl's where it has one, with the same meaning. */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import { formatSize } from '../base/size.ts';
import type { DiskReport } from '../host/list-document.ts';

interface Column {
  readonly name: string;
  readonly help: string;
  /** Shown without -o. */
  readonly isDefault: boolean;
  /** Numbers stand to the right, as in util-linux. */
  readonly right: boolean;
  readonly cell: (disk: DiskReport, inBytes: boolean) => string;
}

const size =
  (of: (disk: DiskReport) => number): Column['cell'] =>
  (disk, inBytes) =>
    inBytes ? String(of(disk)) : formatSize(of(disk));

const count =
  (of: (disk: DiskReport) => number): Column['cell'] =>
  (disk) =>
    String(of(disk));

/** DATA over TOTAL, as zramctl; '-' while nothing is stored. */
export const formatRatio = (dataBytes: number, usedBytes: number): string =>
  dataBytes === 0 || usedBytes === 0 ? '-' : (dataBytes / usedBytes).toFixed(2);

const column = (
  name: string,
  help: string,
  cell: Column['cell'],
  { isDefault = false, right = true } = {},
): Column => ({ name, help, isDefault, right, cell });

const shown = { isDefault: true };
const shownLeft = { isDefault: true, right: false };

export const columns: readonly Column[] = [
  column('NAME', 'name of the disk', (d) => d.name, shownLeft),
  column('ALGORITHM', 'page compressor', (d) => d.algorithm, shownLeft),
  column(
    'DISKSIZE',
    'size that clients see',
    size((d) => d.diskSizeBytes),
    shown,
  ),
  column(
    'DATA',
    'uncompressed size of the stored pages',
    size((d) => d.dataBytes),
    shown,
  ),
  column(
    'COMPR',
    'their compressed size',
    size((d) => d.compressedBytes),
    shown,
  ),
  column(
    'TOTAL',
    'all memory, gaps and metadata included',
    size((d) => d.usedBytes),
    shown,
  ),
  column(
    'SAME-PAGES',
    'pages of one repeated value',
    count((d) => d.sameFilledPages),
    shown,
  ),
  column('COMP-RATIO', 'DATA over TOTAL', (d) => formatRatio(d.dataBytes, d.usedBytes), shown),
  column(
    'MEM-LIMIT',
    'ceiling of TOTAL; - for none (0 with --bytes)',
    (d, inBytes) => (d.limitBytes === 0 && !inBytes ? '-' : size((x) => x.limitBytes)(d, inBytes)),
    shown,
  ),
  column(
    'CONN',
    'clients that have the disk open',
    count((d) => d.connections),
    shown,
  ),
  column(
    'MEM-USED',
    'most that TOTAL and freed memory not yet released came to (zramctl has this name for it)',
    size((d) => d.peakUsedBytes),
  ),
  column(
    'MEM-PEAK',
    'the same as MEM-USED',
    size((d) => d.peakUsedBytes),
  ),
  column(
    'FLASH',
    'bytes of pages that are on the backing, not in memory',
    size((d) => d.backingBytes),
  ),
  column(
    'HUGE-PAGES',
    'stored pages that did not shrink',
    count((d) => d.incompressiblePages),
  ),
  column(
    'STORED-PAGES',
    'pages that hold data',
    count((d) => d.storedPages),
  ),
  column(
    'COMPACTED',
    'pages released by compaction so far',
    count((d) => d.compactedPages),
  ),
  column(
    'READS',
    "reads so far; a client's request is served in one or more",
    count((d) => d.reads),
  ),
  column(
    'WRITES',
    'writes so far, counted likewise',
    count((d) => d.writes),
  ),
  column(
    'DISCARDS',
    'discards and write-zeroes so far, counted likewise',
    count((d) => d.discards),
  ),
  column(
    'FAILED-WRITES',
    'writes refused because the disk was full',
    count((d) => d.failedWrites),
  ),
  column(
    'FAILED-READS',
    'reads or partial writes that met a damaged page; must stay 0',
    count((d) => d.failedReads),
  ),
  column(
    'NOTIFY-FREE',
    'pages dropped by discard and write-zeroes so far',
    count((d) => d.notifyFree),
  ),
  column(
    'INVALID-IO',
    'requests outside the disk or not understood',
    count((d) => d.invalidIo),
  ),
  column('URI', 'where the disk is served', (d) => d.uris.join(','), { right: false }),
  column(
    'HOST',
    'process id of the host; shown without -o when there are several hosts',
    count((d) => d.hostPid),
  ),
  column('CONTROL', 'control socket of the host', (d) => d.hostControl, { right: false }),
];

/**
 * The columns that `-o LIST` asks for; a list that starts with '+' adds to the default.
 * @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE
 */
export function chooseColumns(list: string | null, showsHost = false): readonly Column[] {
  const defaults = columns.filter(
    ({ name, isDefault }) => isDefault || (showsHost && name === 'HOST'),
  );
  if (list === null) return defaults;
  const adds = list.startsWith('+');
  const names = columns.map(({ name }) => name);
  const chosen = (adds ? list.slice(1) : list).split(',').map((word) => {
    const found = columns.find(({ name }) => name === word.trim().toUpperCase());
    if (found !== undefined) return found;
    if (word.trim() === '')
      throw new SwapError('ERR_ARG_VALUE', `--output: '${list}' has an empty column name`, {
        key: '--output',
        value: list,
      });
    const hint = suggestion(word, names);
    throw new SwapError(
      'ERR_ARG_UNKNOWN',
      `--output: no column '${word}'${hint === '' ? `; there is ${names.join(', ')}` : hint}`,
      { key: '--output', value: word },
    );
  });
  return adds ? [...defaults, ...chosen] : chosen;
}
