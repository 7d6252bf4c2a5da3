/** Swap-out, swap-in, free and writeback allocate nothing: with frontswap, with a disk, through the cache and bypassing it. */
import assert from 'node:assert/strict';
import { bytes } from '../../src/base/units.ts';
import { type Bio, BioQueue, BioStatus } from '../../src/block/bio.ts';
import { type ColdPages, LoadResult } from '../../src/frontswap/ops.ts';
import type { AreaOptions } from '../../src/swap/areas.ts';
import { NO_ENTRY } from '../../src/swap/entry.ts';
import type { FrontEnd, MemoryManager, SwapDisk } from '../../src/swap/ops.ts';
import { Swap, SwapInResult, SwapOutResult } from '../../src/swap/swap.ts';
import { swapOn } from '../../src/swap/swapon.ts';
import { Writeback } from '../../src/swap/writeback.ts';
import { headerPage } from '../support/fakes/sim-disk.ts';
import { noGarbageTest } from '../support/fixtures/no-garbage.ts';

const FRAMES = 64;
const SLOTS = 4096;

/** Remembers which slots have a page, not its bytes. */
function flatFront(enabled: boolean): FrontEnd {
  const held = new Uint8Array(SLOTS);
  const cold: ColdPages = {
    coldest: (from, to) => {
      const found = held.indexOf(1, from);
      return found === -1 || found >= to ? -1 : found;
    },
    age: () => undefined,
  };
  return {
    enabled,
    exclusiveGets: false,
    onShrink: null,
    init: () => undefined,
    store: (_type, offset) => {
      held[offset] = 1;
      return true;
    },
    load: (_type, offset) => (held[offset] === 1 ? LoadResult.loaded : LoadResult.absent),
    peek: (_type, offset) => (held[offset] === 1 ? LoadResult.loaded : LoadResult.absent),
    invalidatePage: (_type, offset) => {
      held[offset] = 0;
    },
    invalidateArea: () => undefined,
    has: (_type, offset) => held[offset] === 1,
    completeWriteback: (_type, offset) => {
      held[offset] = 0;
    },
    coldPages: () => cold,
  };
}

class FlatMemory implements MemoryManager {
  readonly memory: Uint8Array = new Uint8Array(FRAMES * 4096).fill(7);
  readonly #free = Int32Array.from({ length: FRAMES }, (_, i) => i);
  #count = FRAMES;

  allocFrame(): number {
    return this.#count === 0 ? -1 : this.#free[--this.#count]!;
  }
  freeFrame(frame: number): void {
    this.#free[this.#count++] = frame;
  }
  removedFromCache(frame: number): void {
    this.freeFrame(frame);
  }
  readDone(): void {}
  writeDone(): void {}
  unuse(): void {}
}

/** Accepts every bio and stores nothing. */
function nullDisk(synchronous: boolean): SwapDisk {
  const done = new BioQueue();
  return {
    sizeBytes: bytes(SLOTS * 4096),
    limits: { physicalBlockBytes: 4096, discardGranularityBytes: 4096, maxTransferBytes: 4096 },
    readOnly: false,
    synchronous,
    submit: (bio: Bio) => {
      bio.status = BioStatus.ok;
      done.push(bio);
    },
    tick: () => {
      const count = done.length;
      for (let i = 0; i < count; i++) {
        const bio = done.shift()!;
        bio.owner.bioEnd(bio);
      }
      return count;
    },
    extents: () => undefined,
    slotFree: () => undefined,
  };
}

function cycle(swap: Swap, mm: FlatMemory): void {
  const frame = mm.allocFrame();
  const entry = swap.addToSwap(frame);
  assert.ok(entry !== NO_ENTRY);
  swap.duplicate(entry);
  if (swap.swapOut(frame) === SwapOutResult.pending) swap.tick();
  swap.dropFromCache(frame);
  mm.freeFrame(frame);
  if (swap.swapIn(entry) === SwapInResult.pending) swap.tick();
  const came = swap.frame;
  const past = swap.cache.entryAt(came) === NO_ENTRY;
  swap.freeAndCache(entry);
  if (past) mm.freeFrame(came);
}

function cycleBack(swap: Swap, back: Writeback, mm: FlatMemory): void {
  const frame = mm.allocFrame();
  const entry = swap.addToSwap(frame);
  swap.duplicate(entry);
  swap.swapOut(frame);
  swap.dropFromCache(frame);
  mm.freeFrame(frame);
  assert.equal(back.write(0, 1), 1);
  swap.tick();
  swap.freeAndCache(entry);
}

for (const synchronous of [true, false])
  noGarbageTest(`writeback allocates nothing: ${synchronous ? 'at once' : 'later'}`, () => {
    const mm = new FlatMemory();
    const swap = new Swap(flatFront(true), mm);
    const back = new Writeback(swap, { usedBytes: () => 0, limitBytes: 0 });
    swapOn(swap, nullDisk(synchronous), headerPage(SLOTS));
    return {
      run: () => cycleBack(swap, back, mm),
      check: () =>
        assert.equal(swap.counters.get('writebackPages'), swap.counters.get('writebackBios')),
    };
  });

for (const enabled of [true, false])
  for (const synchronous of [true, false])
    for (const allocator of ['rotating', 'solid'] as const) {
      const name = `${enabled ? 'frontswap' : 'bios'}, ${synchronous ? 'at once' : 'later'}, ${allocator}`;
      noGarbageTest(`swap-out, swap-in and free allocate nothing: ${name}`, () => {
        const mm = new FlatMemory();
        const swap = new Swap(flatFront(enabled), mm);
        const options: AreaOptions = { allocator, discard: 'pages' };
        swapOn(swap, nullDisk(synchronous), headerPage(SLOTS), options);
        return {
          run: () => cycle(swap, mm),
          check: () =>
            assert.equal(swap.counters.get('slotsTaken'), swap.counters.get('slotsFreed')),
        };
      });
    }
