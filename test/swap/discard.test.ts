/** Discards: what each mode sends, and that no slot is allocated while its discard is queued or in flight. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BioOp } from '../../src/block/bio.ts';
import { nullDisk } from '../../src/block/disks/null-disk.ts';
import type { DiscardMode } from '../../src/swap/areas.ts';
import type { SwapDisk } from '../../src/swap/ops.ts';
import { SwapInResult } from '../../src/swap/swap.ts';
import { SwapOffResult, swapOff, swapOn } from '../../src/swap/swapon.ts';
import { headerPage, SimDisk } from '../support/fakes/sim-disk.ts';
import { checkWorld, makeWorld, type World } from '../support/fixtures/swap-world.ts';

interface Rig extends World {
  readonly disk: SimDisk;
}

function rig(discard: DiscardMode, slots = 1024): Rig {
  const world = makeWorld(16, 1100, { discardBios: 1 });
  const disk = new SimDisk(slots, true);
  swapOn(world.swap, disk, headerPage(slots), { discard, allocator: 'solid' });
  world.front.accepts = () => false;
  return { ...world, disk };
}

function fill({ mm }: World, from: number, to: number): void {
  for (let vpn = from; vpn < to; vpn++) {
    assert.equal(mm.write(vpn, vpn + 1), SwapInResult.done);
    assert.ok(mm.evict(mm.pages[vpn]!.frame));
  }
}

const discards = ({ disk }: Rig): string[] =>
  disk.seen.filter((b) => b.op === BioOp.discard).map((b) => `${b.slot}+${b.slots}`);

test('off: no discard is sent', () => {
  const r = rig('off');
  fill(r, 0, 300);
  for (let vpn = 0; vpn < 300; vpn++) r.mm.exit(vpn);
  r.swap.tick();
  r.swap.scanDiscard(10);
  assert.deepEqual(discards(r), []);
});

test('once: swapon discards all but the header, and allocates no slot before that has completed', () => {
  const r = rig('once');
  assert.equal(r.mm.write(0, 1), SwapInResult.done);
  assert.equal(r.mm.evict(r.mm.pages[0]!.frame), false);
  assert.throws(() => swapOff(r.swap, 0, 10), { code: 'ERR_ARG_AREA' });
  r.swap.tick();
  assert.deepEqual(discards(r), ['1+1023']);
  assert.ok(r.mm.evict(r.mm.pages[0]!.frame));
  r.mm.exit(0);
  r.swap.tick();
  assert.equal(discards(r).length, 1);
});

test('once: an area above 1 GiB is discarded in bios of 1 GiB, up to its last slot', () => {
  const GIB_SLOTS = 262_144;
  for (const slots of [GIB_SLOTS + 1, GIB_SLOTS + 2]) {
    const { swap, mm, front } = makeWorld(16, 20, { discardBios: 1 });
    const next = nullDisk(slots * 4096);
    const seen: string[] = [];
    const disk: SwapDisk = {
      ...next,
      submit(bio) {
        seen.push(`${bio.offset / 4096}+${bio.length / 4096}`);
        next.submit(bio);
      },
    };
    swapOn(swap, disk, headerPage(slots), { discard: 'once' });
    front.accepts = () => true;
    assert.equal(mm.write(0, 1), SwapInResult.done);
    const { frame } = mm.pages[0]!;
    const want = [`1+${GIB_SLOTS}`, ...(slots > GIB_SLOTS + 1 ? [`${GIB_SLOTS + 1}+1`] : [])];
    for (let i = 1; i <= want.length; i++) {
      assert.equal(mm.evict(frame), false, 'no slot is allocated yet');
      assert.throws(() => swapOff(swap, 0, 10), { code: 'ERR_ARG_AREA' });
      swap.tick();
      assert.deepEqual(seen, want.slice(0, i));
    }
    assert.equal(swapOff(swap, 0, slots), SwapOffResult.done);
    swapOn(swap, nullDisk(10 * 4096), headerPage(10));
    assert.ok(mm.evict(frame));
    assert.deepEqual(seen, want);
  }
});

test('pages: a free cluster is reserved, discarded and released', () => {
  const r = rig('pages');
  fill(r, 0, 512); // clusters 1 and 2
  for (let vpn = 0; vpn < 512; vpn++) r.mm.exit(vpn);
  const { allocator } = r.swap.areas[0]!;
  assert.equal(allocator.reserved, 512);
  assert.deepEqual(discards(r), [], 'free() submits nothing');
  fill(r, 0, 256); // cluster 3: 1 and 2 are reserved
  assert.equal(r.mm.write(300, 1), SwapInResult.done);
  r.swap.tick();
  assert.deepEqual(discards(r), ['256+256'], 'the pool has one bio');
  assert.equal(r.swap.counters.get('discardWaits'), 1);
  r.swap.tick();
  assert.deepEqual(discards(r), ['256+256', '512+256']);
  assert.equal(allocator.reserved, 0);
  checkWorld(r);
});

test('pages: a cluster that was never written is not discarded', () => {
  const r = rig('pages');
  r.front.accepts = () => true;
  fill(r, 0, 256);
  for (let vpn = 0; vpn < 256; vpn++) r.mm.exit(vpn);
  r.swap.tick();
  assert.deepEqual(discards(r), []);
  assert.equal(r.swap.areas[0]!.allocator.reserved, 0);
});

test('scan: each run of freed slots is discarded once', () => {
  const r = rig('scan');
  fill(r, 0, 20); // slots 256 .. 275
  for (const vpn of [3, 4, 5, 9]) r.mm.exit(vpn);
  assert.equal(r.swap.scanDiscard(4), 3, 'the pool has one bio: the scan stops there');
  assert.equal(r.swap.areas[0]!.allocator.reserved, 3);
  r.swap.tick();
  assert.equal(r.swap.scanDiscard(4), 1);
  r.swap.tick();
  assert.equal(r.swap.scanDiscard(4), 0);
  assert.deepEqual(discards(r), ['259+3', '265+1']);
  assert.equal(r.swap.counters.get('discardScanned'), 256 * (2 + 4 + 4));
  checkWorld(r);
});

test('scan: a run of freed slots ends at the end of its cluster', () => {
  const r = rig('scan');
  fill(r, 0, 300); // slots 256 .. 555
  for (const vpn of [254, 255, 256, 257]) r.mm.exit(vpn);
  for (let i = 0; i < 2; i++) {
    assert.equal(r.swap.scanDiscard(4), 2);
    r.swap.tick();
  }
  assert.deepEqual(discards(r), ['510+2', '512+2']);
  checkWorld(r);
});

test('a slot counts as discarded only if its discard succeeded', () => {
  const r = rig('scan');
  fill(r, 0, 20); // slots 256 .. 275
  for (const vpn of [3, 4, 5]) r.mm.exit(vpn);
  const written = (): number[] =>
    [258, 259, 260, 261, 262].filter((slot) => r.swap.areas[0]!.written.has(slot));
  r.disk.fails = (bio) => bio.op === BioOp.discard;
  assert.equal(r.swap.scanDiscard(4), 3);
  r.swap.tick();
  assert.equal(r.swap.counters.get('discardErrors'), 1);
  assert.deepEqual(written(), [258, 259, 260, 261, 262]);
  r.disk.fails = () => false;
  assert.equal(r.swap.scanDiscard(4), 3, 'the slots are not discarded yet: sent again');
  r.swap.tick();
  assert.deepEqual(written(), [258, 262]);
  assert.equal(r.swap.scanDiscard(4), 0);
  assert.equal(r.swap.counters.get('discardErrors'), 1);
  checkWorld(r);
});

test('failed discards lose no slot, and swapoff waits for discards in flight', () => {
  const r = rig('pages');
  fill(r, 0, 256);
  for (let vpn = 0; vpn < 256; vpn++) r.mm.exit(vpn);
  r.disk.fails = (bio) => bio.op === BioOp.discard;
  assert.equal(swapOff(r.swap, 0, 2000), SwapOffResult.again);
  r.swap.tick();
  assert.equal(r.swap.counters.get('discardErrors'), 1);
  assert.equal(swapOff(r.swap, 0, 2000), SwapOffResult.done);
});
