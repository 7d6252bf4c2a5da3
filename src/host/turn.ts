/**
 * The host's own work on disks: in short pieces, so that guests are served in between.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { PAGE_BYTES } from '../base/units.ts';
import type { SwapDisk } from './parts.ts';

/** Longest work in one turn of the event loop, ms. */
const TURN_MS = 1;
/** The share of a compaction step that takes a fraction of TURN_MS. */
const COMPACT_SHARE = 1 / 16;
/** Slots dropped in one piece: about 0.3 ms if all have pages. */
const DROP_SLOTS = 1024;

/** Divides work into turns. */
export class WorkTurns {
  #endMs: number = performance.now() + TURN_MS;

  /** Whether the turn is used up. */
  get isOver(): boolean {
    return performance.now() >= this.#endMs;
  }

  /** Starts a turn. */
  begin(): void {
    this.#endMs = performance.now() + TURN_MS;
  }

  /** Waits for the next turn of the event loop if this one is used up. */
  async pause(): Promise<void> {
    if (!this.isOver) return;
    await nextTurn();
    this.begin();
  }
}

/** Compacts an idle disk for one turn; returns true if there is more to compact. */
export function compactForTurn(disk: Pick<SwapDisk, 'compactIdle'>): boolean {
  const turns = new WorkTurns();
  while (disk.compactIdle(COMPACT_SHARE)) if (turns.isOver) return true;
  return false;
}

/** Drops all pages of a disk without clients and requests, and releases their memory. */
export async function emptyDisk(disk: SwapDisk): Promise<void> {
  const turns = new WorkTurns();
  const slots = disk.sizeBytes / PAGE_BYTES;
  for (let from = 0; from < slots; from += DROP_SLOTS) {
    disk.dropPages(from, Math.min(slots, from + DROP_SLOTS));
    await turns.pause();
  }
  while (disk.compactIdle(COMPACT_SHARE)) await turns.pause();
}
