/** A swap core with memory manager, front end and disks, and the invariants between them. */
import assert from 'node:assert/strict';
import { entryOf, NO_ENTRY } from '../../src/swap/entry.ts';
import type { FrontEnd } from '../../src/swap/ops.ts';
import { Swap, type SwapOptions } from '../../src/swap/swap.ts';
import { offerShrink } from '../../src/swap/swapon.ts';
import { Writeback, type WritebackOptions } from '../../src/swap/writeback.ts';
import { FakeMemory } from './fake-memory.ts';
import { NaiveFront } from './naive-front.ts';

export interface World<F extends FrontEnd = NaiveFront> {
  readonly front: F;
  readonly mm: FakeMemory;
  readonly swap: Swap;
  readonly back: Writeback;
}

export const makeWorld = (frames: number, pages: number, options: SwapOptions = {}): World =>
  makeWorldOf(new NaiveFront(), frames, pages, options);

export function makeWorldOf<F extends FrontEnd>(
  front: F,
  frames: number,
  pages: number,
  options: SwapOptions = {},
  backOptions: WritebackOptions = { usedBytes: () => 0, limitBytes: 0, bios: 4 },
): World<F> {
  const mm = new FakeMemory(frames, pages);
  const swap = new Swap(front, mm, options);
  mm.swap = swap;
  offerShrink(swap);
  return { front, mm, swap, back: new Writeback(swap, backOptions) };
}

/** The equations of docs/design/swap.md; O(areas), after every step. */
export function checkCounters({ swap, mm, back }: World<FrontEnd>): void {
  const c = swap.counters.snapshot();
  let inUse = 0;
  for (const area of swap.areas) inUse += area?.allocator.inUse ?? 0;
  assert.equal(c.slotsTaken - c.slotsFreed, inUse, 'slots taken - freed = in use');
  assert.equal(
    c.pagesOut,
    c.zeroOut + c.frontswapOut + c.writeBios + c.freedOut + c.busyOut,
    'pagesOut = sum of the outcomes',
  );
  assert.equal(
    c.pagesIn,
    c.cacheHits + c.zeroIn + c.frontswapIn + c.readBios + c.refusedIn + c.corruptLoads,
    'pagesIn = sum of the outcomes',
  );
  assert.equal(
    c.writebackBios,
    c.writebackPages + c.writebackStale + c.writebackErrors + back.inFlight,
    'writebackBios = pages + stale + errors + in flight',
  );
  assert.ok(c.readAheadHits <= c.readAheadBios);
  assert.ok(c.readErrors <= c.readBios + c.readAheadBios && c.writeErrors <= c.writeBios);
  assert.equal(mm.free.length, new Set(mm.free).size);
}

/** References, from the slots and from the pages; O(slots + pages). */
export function checkWorld(world: World<FrontEnd>): void {
  const { swap, mm, front } = world;
  checkCounters(world);
  for (const [frame, mapped] of mm.mapped.entries()) {
    const cached = swap.cache.entryAt(frame) !== NO_ENTRY;
    assert.equal(
      mm.free.includes(frame),
      mapped.size === 0 && !cached,
      `frame ${frame} has one place`,
    );
    if (cached) assert.equal(swap.lookup(swap.cache.entryAt(frame)), frame);
  }
  const references = new Map<number, number>();
  for (const [vpn, page] of mm.pages.entries()) {
    if (page === null) continue;
    if (page.frame !== -1) {
      assert.ok(mm.mapped[page.frame]!.has(vpn));
      mm.check(vpn);
    } else references.set(page.entry, (references.get(page.entry) ?? 0) + 1);
  }
  let cachedSlots = 0;
  for (const area of swap.areas) {
    if (area === null) continue;
    area.allocator.verify();
    for (let slot = 1; slot < area.map.slots; slot++) {
      const held = front.has(area.type, slot);
      if (area.map.isFree(slot) || area.map.isBad(slot)) {
        assert.ok(!held && !area.zero.has(slot), 'a free slot has no page');
        continue;
      }
      const entry = entryOf(area.type, slot);
      assert.equal(
        area.map.count(slot),
        references.get(entry) ?? 0,
        'count(slot) = references of pages',
      );
      assert.ok(!(held && area.zero.has(slot)), 'a page is in one place');
      assert.equal(area.map.hasCache(slot), swap.lookup(entry) !== -1);
      if (area.map.hasCache(slot)) cachedSlots++;
      references.delete(entry);
    }
  }
  assert.equal(references.size, 0, 'every entry has a slot in use');
  assert.equal(cachedSlots, swap.cache.count);
}
