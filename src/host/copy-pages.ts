/**
 * Reads and writes pages of a disk for the host itself: copies them to a new disk, or moves them to the backing. It does a
 * little in each turn of the event loop, so that clients are served in between.
 */

import { PAGE_BYTES } from '../base/units.ts';
import { BioFlag, BioOp, BioStatus } from '../block/bio.ts';
import { type Disk, Extent } from '../block/ops.ts';
import { DiskRequest } from './disk-request.ts';
import { WorkTurns } from './turn.ts';

/** Bytes of a request. */
const TRANSFER_BYTES = 64 * 1024;
/** Range that is searched for stored pages in one piece, bytes. */
const SEARCH_BYTES = 16 << 20;

/** The offset of the first page of [from, end) that is stored; `end` if there is none. */
function nextStored(disk: Disk, from: number, end: number): number {
  let at = from;
  if (at >= end) return end;
  disk.extents(at, end - at, (kind, length) => {
    if (kind === Extent.data) return false;
    at += length;
    return true;
  });
  return at;
}

/** Whether a page from `from` on is stored. The disk must not change while this runs. */
export async function hasStored(disk: Disk, from: number): Promise<boolean> {
  const turns = new WorkTurns();
  for (let at = from; at < disk.sizeBytes; ) {
    const end = Math.min(disk.sizeBytes, at + SEARCH_BYTES);
    if (nextStored(disk, at, end) < end) return true;
    at = end;
    await turns.pause();
  }
  return false;
}

/**
 * Copies every page. `source` is left unchanged.
 * @param mustStop whether to end before all pages are copied; called repeatedly
 * @returns ok; otherwise the status of the request that failed, and `target` then has only some of the pages
 */
export async function copyPages(
  source: Disk,
  target: Disk,
  mustStop: () => boolean,
): Promise<BioStatus> {
  const copy: Copy = {
    source,
    target,
    request: new DiskRequest(),
    data: new Uint8Array(TRANSFER_BYTES),
  };
  const turns = new WorkTurns();
  for (let at = 0; at < source.sizeBytes; ) {
    at = nextStored(source, at, Math.min(source.sizeBytes, at + SEARCH_BYTES));
    const length = Math.min(TRANSFER_BYTES, source.sizeBytes - at);
    const status = length > 0 ? copyRuns(copy, at, length) : BioStatus.ok;
    if (status !== BioStatus.ok) return status;
    at += length;
    if (turns.isOver && mustStop()) return BioStatus.notSupported;
    await turns.pause();
  }
  return BioStatus.ok;
}

interface Copy {
  readonly source: Disk;
  readonly target: Disk;
  readonly request: DiskRequest;
  /** TRANSFER_BYTES. */
  readonly data: Uint8Array;
}

/** Copies the stored pages of [at, at + length); the others stay holes. */
function copyRuns({ source, target, request, data }: Copy, at: number, length: number): BioStatus {
  let offset = at;
  const runs: [number, number][] = [];
  source.extents(at, length, (kind, bytes) => {
    if (kind === Extent.data) runs.push([offset, bytes]);
    offset += bytes;
    return true;
  });
  let status: BioStatus = BioStatus.ok;
  for (const [from, bytes] of runs) {
    status = request.run(source, BioOp.read, from, bytes, { data });
    if (status === BioStatus.ok) status = request.run(target, BioOp.write, from, bytes, { data });
    if (status !== BioStatus.ok) break;
  }
  return status;
}

/** The part of a SwapDisk that writeBack() needs. */
interface DiskInRam extends Disk {
  nextInRam(slot: number): number;
}

/**
 * Moves the pages in memory to the backing of the disk, in ascending order, until `isEnough`. Pages without payload stay in
 * memory, and so do pages that the backing has no space for.
 * @returns ok; otherwise the status of the request that failed
 */
export async function writeBack(disk: DiskInRam, isEnough: () => boolean): Promise<BioStatus> {
  const slots = disk.sizeBytes / PAGE_BYTES;
  const request = new DiskRequest();
  const data = new Uint8Array(PAGE_BYTES);
  const back = { data, flags: BioFlag.writeBack };
  const turns = new WorkTurns();
  for (let slot = disk.nextInRam(0); slot < slots; slot = disk.nextInRam(slot + 1)) {
    if (isEnough()) break;
    const offset = slot * PAGE_BYTES;
    // A page in memory is read and written back in the same turn, so no other request changes it in between.
    const read = request.start(disk, BioOp.read, offset, PAGE_BYTES, { data });
    if (read === null) {
      await request.end(disk); // another request is using the page
      continue;
    }
    if (read !== BioStatus.ok) continue; // damaged: it stays, and each read of it fails
    const status =
      request.start(disk, BioOp.write, offset, PAGE_BYTES, back) ?? (await request.end(disk));
    if (status !== BioStatus.ok) return status;
    await turns.pause();
  }
  return BioStatus.ok;
}
