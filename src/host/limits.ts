/**
 * Memory limits: of each disk, and of all disks of a host together (the total).
 *
 *   own limit of a disk    limit=, else --limit, else none
 *   total                  --total-limit, else half of the memory that this process may use
 *   effective limit        its own limit; for a disk without one that is larger than the total: the total
 *
 * The total is a parent of the disks' budgets: a page that exceeds the total is refused like a page that exceeds the disk's own
 * limit. The total is not divided among the disks, and their limits may add up to more.
 */
import { SwapError } from '../base/errors.ts';
import { formatSize, parseSize } from '../base/size.ts';
import { backingTableBytes } from '../block/disks/ramzswap/backing.ts';
import type { UsableMemory } from '../os/linux/usable-memory.ts';
import type { TotalBudget } from './parts.ts';

/** The part of a disk's configuration that limits depend on; config.ts describes the fields. */
interface LimitedDisk {
  readonly sizeBytes: number;
  readonly limitBytes: number;
  readonly backing?: string;
}

/** The space of images; ImageFolder is one. */
interface ImageSpace {
  /** Limit of all disks together. */
  totalBytes: number;
  /** @throws SwapError ERR_IO_NO_ROOM: there is less space than `totalBytes` */
  checkSpace(totalBytes: number): void;
}

/** With a smaller limit the tables of a disk leave no space for pages. */
const LIMIT_BYTES_MIN = 256 * 1024;
/**
 * Default share of the usable memory for all disks; the other half is for guests and other processes.
 */
const TOTAL_SHARE = 0.5;

const rejected = (from: string, text: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${from}: '${text}' ${why}`, { key: from, value: text });

/** Parses a size, or a share of the memory such as `50%`; 0 means no limit. */
export function parseLimit(from: string, text: string, memory: UsableMemory): number {
  const percent = /^\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*$/.exec(text)?.[1];
  if (percent === undefined && text.trim().endsWith('%'))
    throw rejected(from, text, 'is not a valid percentage: write 50% or 12.5%');
  if (percent !== undefined && (Number(percent) === 0 || Number(percent) > 100))
    throw rejected(from, text, 'is out of range: more than 0%, at most 100%');
  const limitBytes =
    percent === undefined
      ? parseSize(from, text)
      : Math.floor((memory.bytes * Number(percent)) / 100);
  if (limitBytes !== 0 && limitBytes < LIMIT_BYTES_MIN)
    throw rejected(
      from,
      text,
      `is too small: at least ${formatSize(LIMIT_BYTES_MIN)}, or 0 for no limit`,
    );
  return limitBytes;
}

/** Half of the memory, rounded to whole MiB if it is 1 MiB or more. */
export function defaultTotal({ bytes }: UsableMemory): number {
  const half = Math.floor(bytes * TOTAL_SHARE);
  const MiB = 1024 * 1024;
  return half < MiB ? Math.max(half, LIMIT_BYTES_MIN) : Math.floor(half / MiB) * MiB;
}

/** Smallest limit with which a disk can store a page, bytes. */
export const leastBytes = ({
  sizeBytes,
  backing,
}: Pick<LimitedDisk, 'sizeBytes' | 'backing'>): number =>
  LIMIT_BYTES_MIN + (backing === undefined ? 0 : backingTableBytes(sizeBytes));

/**
 * Returns the disks with their effective limits.
 * @throws SwapError ERR_ARG_VALUE: the total is too small for their tables
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

/**
 * Changes the limit of all disks together.
 * @param images the images of the disks, which must have the space; null: the pages end with the host
 * @throws SwapError ERR_IO_NO_ROOM: more is in use, or there is less space
 */
export function setTotal(total: TotalBudget, bytes: number, images: ImageSpace | null): void {
  images?.checkSpace(bytes);
  if (total.setLimit(bytes)) {
    if (images !== null) images.totalBytes = bytes;
    return;
  }
  const [used, limit] = [formatSize(total.usedBytes), formatSize(bytes)];
  throw new SwapError(
    'ERR_IO_NO_ROOM',
    `total-limit: the disks use ${used}, more than the new limit of ${limit}; the limit is unchanged; ` +
      'free pages in the guests (swapoff, or swapon --discard), or move them to a backing (frontswap flush), and reload again',
    { usedBytes: total.usedBytes, limitBytes: bytes },
  );
}

const sourceText = ({ bytes, isGroupLimit }: UsableMemory): string =>
  `the ${formatSize(bytes)} of ${isGroupLimit ? 'this control group' : 'this machine'}`;

/** Warnings about limits that the memory cannot satisfy. */
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
        `${formatSize(totalLimitBytes)}: when the total is reached, every disk refuses writes`,
    );
  return warnings;
}
