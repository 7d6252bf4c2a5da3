/**
 * Moves a page between a frame and its slot. A slot's page can be in three places, tried in this order:
 *
 *   write:  all zeros? ─▶ set the zero bit      else frontswap stores it?  else a write bio ─▶ the disk
 *   fetch:  zero bit?  ─▶ fill with zeros       else frontswap loads it?   else onDisk: read() submits a read bio
 *
 * Invariants
 * - A slot's page is in one of the three places. A write drops the copies in the other two before it tries the new
 *   place, so a refused or failed write leaves no older page. (With writethrough, a backend keeps a copy equal to the
 *   disk's.)
 * - Bios come from a fixed pool; if none is free, a write does nothing.
 *
 * Cost: a scan up to the first word that is not zero, then the cost of the backend or the disk. No allocation.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES, PAGE_SHIFT } from '../base/units.ts';
import { BioOp, type BioOwner, BioPool } from '../block/bio.ts';
import { LoadResult } from '../frontswap/ops.ts';
import type { SwapArea } from './areas.ts';
import type { SwapCounters } from './counters.ts';
import type { FrontEnd } from './ops.ts';

/** Result of a transfer. docs/design/swap.md maps LoadResult to this table, and this table to SwapInResult. */
export const PageIoResult = {
  /** The page has been transferred. */
  done: 0,
  /** fetch(): the page has been transferred, and frontswap has dropped its copy. */
  doneExclusive: 1,
  /** A bio has been submitted to the disk. */
  pending: 2,
  /** No bio was free: nothing was done. */
  busy: 3,
  /** fetch(): neither the zero bit nor frontswap has the page: read it from the disk. */
  onDisk: 4,
  /** fetch(): frontswap's copy is corrupt or lost. */
  corrupt: 5,
} as const;
export type PageIoResult = (typeof PageIoResult)[keyof typeof PageIoResult];

const PAGE_WORDS = PAGE_BYTES / 4;

export class PageIo {
  readonly pool: BioPool;
  readonly #front: FrontEnd;
  readonly #memory: Uint8Array;
  readonly #words: Uint32Array;
  /** One view per frame, created once; if backends got (all frames, offset), they would create a view per page. */
  readonly #frames: readonly Uint8Array[];
  readonly #counters: SwapCounters;

  /** @param bios maximum number of page bios in flight, including read-ahead */
  constructor(front: FrontEnd, memory: Uint8Array, bios: number, counters: SwapCounters) {
    assert(memory.byteOffset % 4 === 0, 'the frames are aligned to 4 bytes');
    this.pool = new BioPool(bios);
    this.#front = front;
    this.#memory = memory;
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, memory.length >>> 2);
    this.#counters = counters;
    this.#frames = Array.from({ length: memory.length >>> PAGE_SHIFT }, (_, frame) =>
      memory.subarray(frame * PAGE_BYTES, (frame + 1) * PAGE_BYTES),
    );
  }

  /** Writes a frame to its slot. Returns done, pending or busy. A bio completes to `owner`, with tag = frame. */
  write(area: SwapArea, slot: number, frame: number, owner: BioOwner): PageIoResult {
    const { type, zero } = area;
    const { values, index } = this.#counters;
    if (this.#isZero(frame)) {
      if (this.#front.enabled) this.#front.invalidatePage(type, slot);
      zero.set(slot);
      values[index.zeroOut]! += 1;
      return PageIoResult.done;
    }
    zero.clear(slot);
    if (this.#front.enabled && this.#front.store(type, slot, this.#frames[frame]!, 0)) {
      values[index.frontswapOut]! += 1;
      return PageIoResult.done;
    }
    const answer = this.#submit(BioOp.write, area, slot, frame, owner);
    values[answer === PageIoResult.pending ? index.writeBios : index.busyOut]! += 1;
    if (answer === PageIoResult.pending) area.written.set(slot);
    return answer;
  }

  /**
   * Fills a frame from its slot if no bio is needed. Returns done, doneExclusive, corrupt or onDisk.
   * @param keepsCopy whether frontswap keeps its copy even with exclusive gets
   */
  fetch(area: SwapArea, slot: number, frame: number, keepsCopy: boolean): PageIoResult {
    const { values, index } = this.#counters;
    if (area.zero.has(slot)) {
      this.#frames[frame]!.fill(0);
      values[index.zeroIn]! += 1;
      return PageIoResult.done;
    }
    if (!this.#front.enabled) return PageIoResult.onDisk;
    const load = keepsCopy
      ? this.#front.peek(area.type, slot, this.#frames[frame]!, 0)
      : this.#front.load(area.type, slot, this.#frames[frame]!, 0);
    if (load === LoadResult.absent) return PageIoResult.onDisk;
    values[load === LoadResult.corrupt ? index.corruptLoads : index.frontswapIn]! += 1;
    if (load === LoadResult.corrupt) return PageIoResult.corrupt;
    return load === LoadResult.loaded ? PageIoResult.done : PageIoResult.doneExclusive;
  }

  /** Reads a frame from the disk. Returns pending or busy. */
  read(area: SwapArea, slot: number, frame: number, owner: BioOwner): PageIoResult {
    return this.#submit(BioOp.read, area, slot, frame, owner);
  }

  #submit(op: BioOp, area: SwapArea, slot: number, frame: number, owner: BioOwner): PageIoResult {
    const bio = this.pool.alloc();
    if (bio === null) return PageIoResult.busy;
    bio.op = op;
    bio.offset = slot * PAGE_BYTES;
    bio.length = PAGE_BYTES;
    bio.data = this.#memory;
    bio.at = frame * PAGE_BYTES;
    bio.owner = owner;
    bio.tag = frame;
    area.disk.submit(bio);
    return PageIoResult.pending;
  }

  #isZero(frame: number): boolean {
    const start = frame * PAGE_WORDS;
    for (let at = start; at < start + PAGE_WORDS; at++) if (this.#words[at]! !== 0) return false;
    return true;
  }
}
