/**
 * Checks an image without a host: adopts it on private copies of its memories, so that the file does not change, and verifies
 * every invariant.
 */
import { InvariantError } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { Ramzswap } from '../block/disks/ramzswap/ramzswap.ts';
import type { Adopted } from '../store/adopt.ts';
import { DiskImage } from './disk-image.ts';

/** What a check found. An image that cannot be read has only path and problem. */
export interface ImageReport extends Partial<Adopted> {
  readonly path: string;
  /** Why a host would refuse the image; null: it would adopt it. */
  readonly problem: string | null;
  readonly sizeBytes?: number;
  readonly generation?: string;
  readonly settings?: string;
  /** Memory that the file uses, bytes. */
  readonly residentBytes?: number;
}

/** @throws SwapError ERR_IO_IN_USE: a host has the image open; ERR_IO_SYSTEM, ERR_IO_UNSUPPORTED */
export function checkImage(path: string): ImageReport {
  const refused = (error: unknown): ImageReport => {
    if (error instanceof InvariantError) return { path, problem: error.message };
    if (!(error instanceof SwapError) || error.code !== 'ERR_IO_IMAGE') throw error;
    return { path, problem: String(error.facts['reason'] ?? error.message) };
  };
  try {
    using image = DiskImage.open(path, true);
    const { header, residentBytes } = image;
    const facts = { path, residentBytes, ...header };
    try {
      const disk = new Ramzswap({ sizeBytes: header.sizeBytes, limitBytes: 0, images: image });
      disk.verify();
      return { ...facts, ...disk.adopted, problem: null };
    } catch (error) {
      return { ...facts, ...refused(error) };
    }
  } catch (error) {
    return refused(error);
  }
}
