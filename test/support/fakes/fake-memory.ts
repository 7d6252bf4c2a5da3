/**
 * A memory manager with virtual pages whose expected bytes are known. It maps, evicts, shares, writes and frees pages as a
 * kernel does, and compares every page that is swapped in.
 */
import assert from 'node:assert/strict';
import { NO_ENTRY, type SwapEntry } from '../../../src/swap/entry.ts';
import type { MemoryManager } from '../../../src/swap/ops.ts';
import { type Swap, SwapInResult, SwapOutResult } from '../../../src/swap/swap.ts';
import { DuplicateResult } from '../../../src/swap/swap-map.ts';

export interface VirtualPage {
  frame: number;
  entry: SwapEntry;
  /** Determines the page's bytes; 0 = zeros. */
  stamp: number;
}

export class FakeMemory implements MemoryManager {
  readonly memory: Uint8Array;
  readonly pages: (VirtualPage | null)[];
  readonly free: number[] = [];
  /** Virtual pages of each frame. */
  readonly mapped: Set<number>[] = [];
  swap!: Swap;
  /** Called when an unshared page is modified; true: it keeps its slot, which the next swap-out overwrites. */
  keepsSlot: () => boolean = () => false;
  takesHome = true;
  readonly reads: boolean[] = [];
  readonly writes: boolean[] = [];
  readonly #words: Uint32Array;

  constructor(frames: number, pages: number) {
    this.memory = new Uint8Array(frames * 4096);
    this.#words = new Uint32Array(this.memory.buffer);
    this.pages = new Array<VirtualPage | null>(pages).fill(null);
    for (let frame = 0; frame < frames; frame++) {
      this.free.push(frame);
      this.mapped.push(new Set());
    }
  }

  allocFrame(ahead: boolean): number {
    if (ahead && this.free.length < 3) return -1;
    return this.free.pop() ?? -1;
  }

  freeFrame(frame: number): void {
    assert.ok(
      !this.free.includes(frame) && this.mapped[frame]!.size === 0,
      'the frame is allocated and unmapped',
    );
    this.memory.fill(0xee, frame * 4096, (frame + 1) * 4096);
    this.free.push(frame);
  }

  removedFromCache(frame: number): void {
    if (this.mapped[frame]!.size === 0) this.freeFrame(frame);
  }

  readDone(_entry: SwapEntry, _frame: number, ok: boolean): void {
    this.reads.push(ok);
  }

  writeDone(_entry: SwapEntry, _frame: number, ok: boolean): void {
    this.writes.push(ok);
  }

  unuse(entry: SwapEntry, frame: number): void {
    if (!this.takesHome) return;
    for (const [vpn, page] of this.pages.entries())
      if (page !== null && page.entry === entry) this.#map(vpn, page, frame);
  }

  /** Makes the page resident; returns why not. A new page is all zeros. */
  touch(vpn: number): SwapInResult {
    const page = this.pages[vpn] ?? null;
    if (page === null) {
      const frame = this.allocFrame(false);
      if (frame === -1) return SwapInResult.noFrame;
      this.pages[vpn] = { frame, entry: NO_ENTRY, stamp: 0 };
      this.mapped[frame]!.add(vpn);
      this.#fill(frame, 0);
      return SwapInResult.done;
    }
    if (page.frame === -1) {
      const answer = this.swap.swapIn(page.entry);
      if (answer !== SwapInResult.done) return answer;
      this.#map(vpn, page, this.swap.frame);
    }
    this.check(vpn);
    return SwapInResult.done;
  }

  /** Touches and modifies the page. */
  write(vpn: number, stamp: number): SwapInResult {
    const answer = this.touch(vpn);
    if (answer !== SwapInResult.done) return answer;
    const page = this.pages[vpn]!;
    const { swap } = this;
    const cached = swap.cache.entryAt(page.frame) !== NO_ENTRY;
    const isShared = this.mapped[page.frame]!.size > 1;
    if (isShared || (cached && this.references(swap.cache.entryAt(page.frame)) > 0)) {
      const frame = this.allocFrame(false);
      if (frame === -1) return SwapInResult.noFrame;
      this.mapped[page.frame]!.delete(vpn);
      page.frame = frame;
      this.mapped[frame]!.add(vpn);
    } else if (cached && (this.keepsSlot() || !swap.tryFree(page.frame)))
      swap.markDirty(page.frame);
    page.stamp = stamp;
    this.#fill(page.frame, stamp);
    return SwapInResult.done;
  }

  /** Unmaps a frame and swaps its page out. False: not yet, or no slot. */
  evict(frame: number): boolean {
    const { swap } = this;
    const mapped = this.mapped[frame]!;
    if (mapped.size === 0) return this.reclaim(frame);
    let entry = swap.cache.entryAt(frame);
    if (entry === NO_ENTRY) entry = swap.addToSwap(frame);
    if (entry === NO_ENTRY) return false;
    for (const vpn of mapped) {
      const page = this.pages[vpn]!;
      this.#duplicate(entry);
      page.frame = -1;
      page.entry = entry;
    }
    mapped.clear();
    return this.reclaim(frame);
  }

  /** Frees an unmapped frame if its page is, or can be written, in its slot. */
  reclaim(frame: number): boolean {
    const { swap } = this;
    if (this.mapped[frame]!.size > 0 || swap.cache.entryAt(frame) === NO_ENTRY) return false;
    if (swap.isBusy(frame)) return false;
    if (swap.isDirty(frame) && swap.swapOut(frame) !== SwapOutResult.done) return false;
    swap.dropFromCache(frame);
    this.freeFrame(frame);
    return true;
  }

  fork(from: number, to: number): void {
    const page = this.pages[from] ?? null;
    if (page === null || this.pages[to] !== null) return;
    if (page.frame === -1) this.#duplicate(page.entry);
    else this.mapped[page.frame]!.add(to);
    this.pages[to] = { ...page };
  }

  exit(vpn: number): void {
    const page = this.pages[vpn] ?? null;
    if (page === null) return;
    this.pages[vpn] = null;
    if (page.frame === -1) {
      this.swap.freeAndCache(page.entry);
      return;
    }
    this.mapped[page.frame]!.delete(vpn);
    if (this.mapped[page.frame]!.size > 0) return;
    if (this.swap.cache.entryAt(page.frame) === NO_ENTRY) this.freeFrame(page.frame);
    else this.swap.tryFree(page.frame);
  }

  /** Virtual pages that refer to the entry. */
  references(entry: SwapEntry): number {
    return this.pages.filter((page) => page !== null && page.entry === entry).length;
  }

  /** Asserts that the resident page has the bytes written last. */
  check(vpn: number): void {
    const { frame, stamp } = this.pages[vpn]!;
    for (let word = frame * 1024; word < (frame + 1) * 1024; word++)
      if (this.#words[word] !== wordOf(stamp, word % 1024))
        assert.fail(`page ${vpn}: word ${word % 1024} is not that of stamp ${stamp}`);
  }

  #duplicate(entry: SwapEntry): void {
    if (this.swap.duplicate(entry) !== DuplicateResult.needsContinuation) return;
    this.swap.addContinuation(entry);
    assert.equal(this.swap.duplicate(entry), DuplicateResult.done);
  }

  #map(vpn: number, page: VirtualPage, frame: number): void {
    const { entry } = page;
    page.frame = frame;
    page.entry = NO_ENTRY;
    this.mapped[frame]!.add(vpn);
    this.swap.free(entry);
  }

  #fill(frame: number, stamp: number): void {
    for (let i = 0; i < 1024; i++) this.#words[frame * 1024 + i] = wordOf(stamp, i);
  }
}

/** Every third stamp makes a page with a single word in it: all but zeros. */
function wordOf(stamp: number, at: number): number {
  if (stamp === 0) return 0;
  if (stamp % 3 === 0) return at === stamp % 1024 ? stamp : 0;
  return (Math.imul(stamp, 0x9e3779b1) + Math.imul(at, 0x85ebca6b)) >>> 0;
}
