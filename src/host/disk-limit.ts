/** The memory limit of a served disk: what must be released or moved to the backing before it can be lowered. */
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import { BioStatus } from '../block/bio.ts';
import { writeBack } from './copy-pages.ts';
import type { DiskConfig } from './disk-config.ts';
import { leastBytes } from './limits.ts';
import type { ServedDisk } from './served-disk.ts';
import { compactForTurn } from './turn.ts';

/** How long it waits for memory to be released, ms. */
const WAIT_MS_MAX = 2000;

/**
 * Moves the pages of a disk to its backing until `isEnough`.
 * @throws SwapError ERR_IO_SYSTEM: the backing failed
 */
export async function writeBackPages(
  { config, disk }: ServedDisk,
  isEnough: () => boolean,
): Promise<void> {
  const status = await writeBack(disk, isEnough);
  if (status !== BioStatus.ok)
    throw new SwapError(
      'ERR_IO_SYSTEM',
      `disk '${config.name}': the backing '${config.backing}' failed; the page stays in memory`,
      { disk: config.name },
    );
}

/**
 * Sets the limit. If more is in use, pages go to the backing, if there is one, and compaction may release memory.
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_NO_ROOM; ERR_IO_SYSTEM: the backing failed
 */
export async function setDiskLimit(
  served: ServedDisk,
  config: DiskConfig,
  isStopping: () => boolean,
): Promise<void> {
  const { disk } = served;
  const { name, limitBytes } = config;
  const least = leastBytes(config);
  if (limitBytes !== 0 && limitBytes < least)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `limit: '${formatSize(limitBytes)}' is too small for disk '${name}': at least ${Math.ceil(least / 1024)}K`,
      { key: 'limit', value: String(limitBytes) },
    );
  if (disk.setLimit(limitBytes)) return;
  // Compaction leaves some free memory that counts.
  const enoughBytes = limitBytes - limitBytes / 16;
  if (config.backing !== undefined)
    await writeBackPages(served, () => disk.stats().usedBytes <= enoughBytes || isStopping());
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!disk.setLimit(limitBytes)) {
    const hasMore = compactForTurn(disk);
    if (disk.setLimit(limitBytes)) return;
    if (!hasMore || performance.now() > deadline)
      throw new SwapError(
        'ERR_IO_NO_ROOM',
        `disk '${name}' uses ${formatSize(disk.stats().usedBytes)}, more than the new limit of ${formatSize(limitBytes)}; ` +
          'the limit is unchanged; free pages in the guest (swapoff, or swapon --discard) and try again',
        { disk: name, usedBytes: disk.stats().usedBytes, limitBytes },
      );
    await new Promise((resolve) => setImmediate(resolve));
  }
}
