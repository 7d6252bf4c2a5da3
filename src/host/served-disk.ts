/** What the host keeps about a disk that it serves. */
import type { StatsDisk } from '../block/filters/stats-disk.ts';
import type { ExportGate } from '../nbd/server/export-gate.ts';
import type { DiskConfig } from './disk-config.ts';
import type { DiskImage } from './disk-image.ts';
import type { DiskProblem } from './disk-problem.ts';
import type { FillWatch } from './fill-watch.ts';
import type { SwapDisk } from './parts.ts';

/** A disk and everything that the host knows about it. */
export interface ServedDisk {
  config: DiskConfig;
  disk: SwapDisk;
  /** A filter in front of the disk that counts requests and latencies. */
  stats: StatsDisk;
  readonly gate: ExportGate;
  /** Its image, which outlives the host; null: the pages end with the host. */
  image: DiskImage | null;
  /** Pages in its image when the disk was added. */
  readonly adoptedPages: number;
  /** An operation is changing the disk. */
  isChanging: boolean;
  /** reads + writes + discards at the last maintenance; unchanged: the disk is idle. */
  requestsSeen: number;
  /** The disk's fault was logged. */
  isStopped: boolean;
  /** Requests that the NBD server refused before they reached the disk. */
  invalidRequests: number;
  readonly problem: DiskProblem;
  readonly fill: FillWatch;
  /** When the disk was last found in use, and its number of requests then; null while it is open or empty. */
  unused: { readonly sinceMs: number; readonly requests: number } | null;
}

/** Bytes of all pages, in memory and on the backing. */
export function bytesOf({ disk }: ServedDisk): number {
  const { dataBytes, backingBytes } = disk.stats();
  return dataBytes + backingBytes;
}
