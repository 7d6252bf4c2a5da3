/**
 * Limits of memory: a disk's own, and the total that holds for all disks of a host together.
 *
 *   own limit of a disk    limit=, else --limit, else none
 *   total                  --total-limit, else half of the memory that this process may use
 *   a disk's ceiling       its own limit; a disk without one that is larger than the total: the total
 *
 * The total is a budget above the disks' budgets: a page that does not fit under it is refused exactly as one that does
 * not fit under the disk's own limit. So no split of the total among the disks is needed, and limits may add up to
 * more.
 */
import { SwapError } from '../base/errors.ts';
import { formatSize, parseSize } from '../base/size.ts';
import { backingTableBytes } from '../block/disks/ramzswap/backing.ts';
import type { UsableMemory } from '../os/linux/usable-memory.ts';

/** What limits depend on in a disk's configuration; config.ts describes the fields. */
interface LimitedDisk {
  readonly sizeBytes: number;
  readonly limitBytes: number;
  readonly backing?: string;
}

/** Below it a disk's own tables leave no room for pages. */
const LIMIT_BYTES_MIN = 256 * 1024;
/**
 * Share of the usable memory that all disks may take unless told otherwise: the guests and the rest need the other
 * half.
 */
const TOTAL_SHARE = 0.5;

const rejected = (from: string, text: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${from}: '${text}' ${why}`, { key: from, value: text });

/** A size, or a share of the memory as `50%`; 0 is none. */
export function parseLimit(from: string, text: string, memory: UsableMemory): number {
  const percent = /^\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*$/.exec(text)?.[1];
  if (percent === undefined && text.trim().endsWith('%'))
    throw rejected(from, text, 'is no percentage: write 50% or 12.5%');
  if (percent !== undefined && (Number(percent) === 0 || Number(percent) > 100))
    throw rejected(from, text, 'is no share of the memory: more than 0%, at most 100%');
  const limitBytes =
    percent === undefined
      ? parseSize(from, text)
      : Math.floor((memory.bytes * Number(percent)) / 100);
  if (limitBytes !== 0 && limitBytes < LIMIT_BYTES_MIN)
    throw rejected(
      from,
      text,
      `is too small: at least ${formatSize(LIMIT_BYTES_MIN)}, or 0 for none`,
    );
  return limitBytes;
}

/** Half of the memory, in whole MiB where there is that much. */
export function defaultTotal({ bytes }: UsableMemory): number {
  const half = Math.floor(bytes * TOTAL_SHARE);
  const MiB = 1024 * 1024;
  return half < MiB ? Math.max(half, LIMIT_BYTES_MIN) : Math.floor(half / MiB) * MiB;
}

/** What a disk needs before it can hold a page. */
export const leastBytes = ({
  sizeBytes,
  backing,
}: Pick<LimitedDisk, 'sizeBytes' | 'backing'>): number =>
  LIMIT_BYTES_MIN + (backing === undefined ? 0 : backingTableBytes(sizeBytes));

/**
 * The disks with the ceilings that the total leaves them.
 * @throws SwapError ERR_ARG_VALUE when it leaves them none
 */
export function underTotal<Disk extends LimitedDisk>(
  disks: readonly Disk[],
  totalBytes: number,
  from: string,
): Disk[] {
  if (totalBytes === 0) return [...disks];
  const least = disks.reduce((sum, disk) => sum + leastBytes(disk), 0);
  if (least > totalBytes)
    throw rejected(
      from,
      formatSize(totalBytes),
      `is too small for the tables of ${disks.length} disk(s): at least ${Math.ceil(least / 1024)}K`,
    );
  return disks.map((disk) =>
    disk.limitBytes === 0 && disk.sizeBytes > totalBytes
      ? { ...disk, limitBytes: totalBytes }
      : disk,
  );
}

const sourceText = ({ bytes, isGroupLimit }: UsableMemory): string =>
  `the ${formatSize(bytes)} of ${isGroupLimit ? 'this control group' : 'this machine'}`;

/** What an operator should know before the memory runs out. */
export function limitWarnings(
  {
    disks,
    totalLimitBytes,
  }: { readonly disks: readonly LimitedDisk[]; readonly totalLimitBytes: number },
  memory: UsableMemory,
): string[] {
  const warnings: string[] = [];
  const sum = disks.reduce((bytes, disk) => bytes + (disk.limitBytes || disk.sizeBytes), 0);
  if (totalLimitBytes === 0) {
    if (sum > memory.bytes)
      warnings.push(
        `the disks may take up to ${formatSize(sum)}, more than ${sourceText(memory)}, and there is no total limit: ` +
          'the kernel may kill this host; set --total-limit',
      );
    return warnings;
  }
  if (totalLimitBytes > memory.bytes)
    warnings.push(
      `the total limit of ${formatSize(totalLimitBytes)} is more than ${sourceText(memory)}: ` +
        'the kernel may kill this host; lower --total-limit',
    );
  if (sum > totalLimitBytes)
    warnings.push(
      `the limits of the disks add up to ${formatSize(sum)}, more than the total limit of ` +
        `${formatSize(totalLimitBytes)}: at the total every disk refuses writes`,
    );
  return warnings;
}
