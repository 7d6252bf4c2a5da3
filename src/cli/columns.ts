/** The columns of `list`, with the names and meanings of zramctl where it has them. */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import { formatSize } from '../base/size.ts';
import type { DiskReport } from '../host/list-document.ts';

interface Column {
  readonly name: string;
  readonly help: string;
  /** Shown without -o. */
  readonly isDefault: boolean;
  /** Aligned to the right, as util-linux aligns numbers. */
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

/** DATA divided by TOTAL; '-' while nothing is stored. */
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
    'memory used, including fragmentation and metadata',
    size((d) => d.usedBytes),
    shown,
  ),
  column(
    'SAME-PAGES',
    'pages of one repeated value',
    count((d) => d.sameFilledPages),
    shown,
  ),
  column(
    'COMP-RATIO',
    'DATA divided by TOTAL',
    (d) => formatRatio(d.dataBytes, d.usedBytes),
    shown,
  ),
  column(
    'MEM-LIMIT',
    'limit of TOTAL; - for none (0 with --bytes)',
    (d, inBytes) => (d.limitBytes === 0 && !inBytes ? '-' : size((x) => x.limitBytes)(d, inBytes)),
    shown,
  ),
  column(
    'CONN',
    'connections that have the disk open',
    count((d) => d.connections),
    shown,
  ),
  column(
    'MEM-USED',
    'maximum of TOTAL plus freed memory that was not released yet (name of zramctl)',
    size((d) => d.peakUsedBytes),
  ),
  column(
    'MEM-PEAK',
    'the same as MEM-USED',
    size((d) => d.peakUsedBytes),
  ),
  column(
    'FLASH',
    'bytes of pages stored on the backing',
    size((d) => d.backingBytes),
  ),
  column(
    'IMAGE',
    'memory of the image file of the disk; - for none (0 with --bytes)',
    (d, inBytes) => (!d.isPersistent && !inBytes ? '-' : size((x) => x.imageBytes)(d, inBytes)),
  ),
  column(
    'ADOPTED',
    'pages in the image when the host added the disk',
    count((d) => d.adoptedPages),
  ),
  column(
    'HUGE-PAGES',
    'incompressible pages',
    count((d) => d.incompressiblePages),
  ),
  column(
    'STORED-PAGES',
    'stored pages',
    count((d) => d.storedPages),
  ),
  column(
    'COMPACTED',
    'pages released by compaction',
    count((d) => d.compactedPages),
  ),
  column(
    'READS',
    'reads; a request of a client counts as one or more',
    count((d) => d.reads),
  ),
  column(
    'WRITES',
    'writes, counted like reads',
    count((d) => d.writes),
  ),
  column(
    'DISCARDS',
    'discards and write-zeroes, counted like reads',
    count((d) => d.discards),
  ),
  column(
    'FAILED-WRITES',
    'writes that were refused because the disk was full, or that failed on the backing',
    count((d) => d.failedWrites),
  ),
  column(
    'FAILED-READS',
    'reads or partial writes of a damaged page; must stay 0',
    count((d) => d.failedReads),
  ),
  column(
    'NOTIFY-FREE',
    'pages dropped by discard and write-zeroes',
    count((d) => d.notifyFree),
  ),
  column(
    'INVALID-IO',
    'requests outside the disk, or malformed',
    count((d) => d.invalidIo),
  ),
  column('URI', 'URIs of the disk', (d) => d.uris.join(','), { right: false }),
  column(
    'HOST',
    'process id of the host; shown by default if there are several hosts',
    count((d) => d.hostPid),
  ),
  column('CONTROL', 'control socket of the host', (d) => d.hostControl, { right: false }),
];

/**
 * Parses the list of columns of -o. A list that starts with '+' adds to the default columns.
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
      `--output: unknown column '${word}'${hint === '' ? `; available columns: ${names.join(', ')}` : hint}`,
      { key: '--output', value: word },
    );
  });
  return adds ? [...defaults, ...chosen] : chosen;
}
