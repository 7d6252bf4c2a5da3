/** A swap core with one area and helpers that swap pages out. */
import assert from 'node:assert/strict';
import type { AreaOptions } from '../../src/swap/areas.ts';
import type { SwapEntry } from '../../src/swap/entry.ts';
import { SwapInResult } from '../../src/swap/swap.ts';
import { swapOn } from '../../src/swap/swapon.ts';
import { headerPage, SimDisk } from '../support/fakes/sim-disk.ts';
import { makeWorld, type World } from '../support/fixtures/swap-world.ts';

export interface Rig extends World {
  readonly disk: SimDisk;
}

export function rig(
  synchronous: boolean,
  options: AreaOptions = {},
  slots = 600,
  frames = 32,
): Rig {
  const world = makeWorld(frames, 600);
  const disk = new SimDisk(slots, synchronous);
  swapOn(world.swap, disk, headerPage(slots), options);
  return { ...world, disk };
}

/** Writes pages 0 .. count - 1 with stamps and swaps them out; on an asynchronous disk, waits for the bios. */
export function fill(
  { mm, swap }: World,
  count: number,
  stampOf = (vpn: number): number => vpn + 1,
): void {
  for (let vpn = 0; vpn < count; vpn++) {
    assert.equal(mm.write(vpn, stampOf(vpn)), SwapInResult.done);
    const { frame } = mm.pages[vpn]!;
    if (mm.evict(frame)) continue;
    for (let i = 0; i < 8; i++) swap.tick();
    assert.ok(mm.reclaim(frame));
  }
}

export const entryAt = ({ mm }: World, vpn: number): SwapEntry => mm.pages[vpn]!.entry;
