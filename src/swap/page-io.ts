/**
 * A page's way between a frame and its slot: the first that takes it, or has it.
 *
 *   out:  all zeros? ─▶ a bit      else frontswap takes it? ─▶ there      else a bio ─▶ the disk
 *   in:   the bit?   ─▶ fill       else frontswap has it?   ─▶ load       else a bio ◀─ the disk
 *
 * Invariants
 * - A slot's page is in one of the three places. Where it goes, the other two give up what they had first: a refused or
 *   failed write leaves no older page to be found. (With writethrough a backend keeps a copy equal to the disk's.)
 * - A bio comes from the pool or the page is not written: nothing is allocated.
 *
 * Cost: a scan for zeros that ends at the first word that is not; then the backend's, or the disk's.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { BioOp, type BioOwner, BioPool } from '../block/bio.ts';
import { LoadResult } from '../frontswap/ops.ts';
import type { SwapArea } from './areas.ts';
import type { SwapCounters } from './counters.ts';
import type { FrontEnd } from './ops.ts';

export const PageIoResult = {
  /** The page is where it should be. */
  done: 0,
  /** A bio has been submitted; its end says. */
  submitted: 1,
  /** No bio was left: nothing has been done. */
  noBio: 2,
  /** The page is not in memory nor under a bit: ask the disk. */
  onDisk: 3,
  /** A backend had the page, damaged. */
  corrupt: 4,
} as const;
export type PageIoResult = (typeof PageIoResult)[keyof typeof PageIoResult];

const PAGE_WORDS = PAGE_BYTES / 4;

export class PageIo {
  readonly pool: BioPool;
  readonly #front: FrontEnd;
  readonly #memory: Uint8Array;
  readonly #words: Uint32Array;
  /** A view a frame: a store that is handed (all frames, offset) makes a view of its own, a page. */
  readonly #frames: readonly Uint8Array[];
  readonly #counters: SwapCounters;

  /** @param bios most page bios in flight, read-ahead included */
  constructor(front: FrontEnd, memory: Uint8Array, bios: number, counters: SwapCounters) {
    assert(memory.byteOffset % 4 === 0, 'frames start at a word');
    this.pool = new BioPool(bios);
    this.#front = front;
    this.#memory = memory;
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, memory.length >>> 2);
    this.#counters = counters;
    this.#frames = Array.from({ length: memory.length >>> 12 }, (_, frame) =>
      memory.subarray(frame * PAGE_BYTES, (frame + 1) * PAGE_BYTES),
    );
  }

  /** Frame to slot. The end of a bio goes to `owner`, tag = frame. */
  write(area: SwapArea, slot: number, frame: number, owner: BioOwner): PageIoResult {
    const { type, zero } = area;
    const { values, index } = this.#counters;
    if (this.#isZero(frame)) {
      if (this.#front.enabled && this.#front.has(type, slot))
        this.#front.invalidatePage(type, slot);
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
    values[answer === PageIoResult.submitted ? index.writeBios : index.busyOut]! += 1;
    if (answer === PageIoResult.submitted) area.written.set(slot);
    return answer;
  }

  /** Slot to frame, where that takes no bio: done, corrupt, or onDisk. `past` the cache: the backend keeps its copy. */
  fetch(area: SwapArea, slot: number, frame: number, past: boolean): PageIoResult {
    const { values, index } = this.#counters;
    if (area.zero.has(slot)) {
      this.#frames[frame]!.fill(0);
      values[index.zeroIn]! += 1;
      return PageIoResult.done;
    }
    if (!this.#front.enabled) return PageIoResult.onDisk;
    const load = past
      ? this.#front.peek(area.type, slot, this.#frames[frame]!, 0)
      : this.#front.load(area.type, slot, this.#frames[frame]!, 0);
    if (load === LoadResult.absent) return PageIoResult.onDisk;
    values[load === LoadResult.loaded ? index.frontswapIn : index.corruptLoads]! += 1;
    return load === LoadResult.loaded ? PageIoResult.done : PageIoResult.corrupt;
  }

  /** Slot to frame, from the disk. */
  read(area: SwapArea, slot: number, frame: number, owner: BioOwner): PageIoResult {
    return this.#submit(BioOp.read, area, slot, frame, owner);
  }

  #submit(op: BioOp, area: SwapArea, slot: number, frame: number, owner: BioOwner): PageIoResult {
    const bio = this.pool.alloc();
    if (bio === null) return PageIoResult.noBio;
    bio.op = op;
    bio.offset = slot * PAGE_BYTES;
    bio.length = PAGE_BYTES;
    bio.data = this.#memory;
    bio.at = frame * PAGE_BYTES;
    bio.owner = owner;
    bio.tag = frame;
    area.disk.submit(bio);
    return PageIoResult.submitted;
  }

  #isZero(frame: number): boolean {
    const start = frame * PAGE_WORDS;
    for (let at = start; at < start + PAGE_WORDS; at++) if (this.#words[at]! !== 0) return false;
    return true;
  }
}
