/**
 * Checks an image without a host: adopts it on private copies of its memories, so that the file does not change, verifies
 * every invariant, and reads the pages that are at the backing.
 */
import { statSync } from 'node:fs';
import { InvariantError } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { BioOp, BioStatus } from '../block/bio.ts';
import { FileDisk } from '../block/disks/file-disk.ts';
import { openFile } from '../block/disks/file-io.ts';
import { Ramzswap } from '../block/disks/ramzswap/ramzswap.ts';
import { refusingDisk } from '../block/disks/refusing-disk.ts';
import type { Disk } from '../block/ops.ts';
import type { Adopted } from '../store/adopt.ts';
import { identityOf } from './backing-file.ts';
import { splitDisk } from './disk-config.ts';
import { DiskImage } from './disk-image.ts';
import { DiskRequest } from './disk-request.ts';
import type { ImageHeader } from './image-header.ts';

/** What a check found about the pages of an image that are at its backing. */
export interface BackingReport {
  readonly pages: number;
  /** Pages that cannot be read, or do not match their checksum; null: the backing was not read. */
  readonly damaged: number | null;
  /** Why it was not read. */
  readonly problem: string | null;
}

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
  /** Absent: the disk has no backing. */
  readonly atBacking?: BackingReport;
}

/** Opens the backing of an image to read it. @returns the disk, or why it cannot be read */
function openBacking({ backing, settings, sizeBytes }: ImageHeader): FileDisk | string {
  const path = splitDisk('its settings', settings).given.get('backing') ?? '';
  try {
    if (identityOf(statSync(path)) !== backing) return `${path} is not the backing of the image`;
    const { io, isDirect } = openFile(path, { readOnly: true, direct: true, punchHole: null });
    return new FileDisk(io, { sizeBytes, readOnly: false, isDirect, biosPerTick: 1 }); // only reads it
  } catch (error) {
    return `${path}: ${(error as Error).message}`;
  }
}

/** Reads every page that is at the backing. @returns the number of those that cannot be read */
function damagedAtBacking(disk: Ramzswap): number {
  const request = new DiskRequest();
  const data = new Uint8Array(PAGE_BYTES);
  let damaged = 0;
  for (let slot = disk.nextAtBacking(0); slot * PAGE_BYTES < disk.sizeBytes; ) {
    const offset = slot * PAGE_BYTES;
    const status = request.run(disk, BioOp.read, offset, PAGE_BYTES, { data });
    if (status !== BioStatus.ok) damaged++;
    slot = disk.nextAtBacking(slot + 1);
  }
  return damaged;
}

/** Adopts the image on private copies, and verifies it. */
function adoptCopy(image: DiskImage): Partial<ImageReport> {
  const { sizeBytes, backing } = image.header;
  const options = { sizeBytes, limitBytes: 0, images: image };
  if (backing === '') {
    const disk = new Ramzswap(options);
    disk.verify();
    return disk.adopted;
  }
  const opened = openBacking(image.header);
  const isRead = typeof opened !== 'string';
  const target: Disk & Partial<Disposable> = isRead ? opened : refusingDisk(sizeBytes);
  using disk = new Ramzswap({ ...options, backing: { disk: target, showsOldData: false } });
  disk.verify();
  const atBacking = {
    pages: disk.stats().backingBytes / PAGE_BYTES,
    ...(isRead
      ? { damaged: damagedAtBacking(disk), problem: null }
      : { damaged: null, problem: opened }),
  };
  return { ...disk.adopted, atBacking };
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
    const { residentBytes } = image;
    const { sizeBytes, generation, settings } = image.header;
    const facts = { path, residentBytes, sizeBytes, generation, settings };
    try {
      return { ...facts, ...adoptCopy(image), problem: null };
    } catch (error) {
      return { ...facts, ...refused(error) };
    }
  } catch (error) {
    return refused(error);
  }
}
