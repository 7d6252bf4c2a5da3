/** A million operations leave no garbage: what the heap grew by, summed over the run, stays below one byte each (a disk: four). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { Prng } from '../../src/base/prng.ts';
import { slot as slotOf } from '../../src/base/units.ts';
import { Bio, BioOp, type BioOwner } from '../../src/block/bio.ts';
import { Ramzswap } from '../../src/block/disks/ramzswap/ramzswap.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { Store } from '../../src/store/store.ts';
import { FakeReturns } from '../model/fake-returns.ts';
import { makePage, type PageKind } from '../model/pages.ts';

const collect = (globalThis as { gc?: () => void }).gc;
const skip = collect === undefined ? 'needs --expose-gc' : false;

/**
 * Bytes that `batches` calls allocate: the sum of the heap's growth over each. A collection in between hides at
 * most its own batch.
 */
function allocatedBytes(batches: number, batch: (i: number) => void): number {
  collect?.();
  batch(0); // the first allocation after a collection opens a heap page, of which up to 256 KiB count as used
  let sum = 0;
  let before = process.memoryUsage().heapUsed;
  for (let i = 0; i < batches; i++) {
    batch(i);
    const now = process.memoryUsage().heapUsed;
    if (now > before) sum += now - before;
    before = now;
  }
  return sum;
}

/** The least of at least `rounds`: the first ones pay for compiling, on a busy machine some more. */
function leastAllocated(rounds: number, batches: number, batch: (i: number) => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds || (round < 100 && least >= batches * BATCH); round++)
    least = Math.min(least, allocatedBytes(batches, batch));
  return least;
}

const kinds: PageKind[] = ['zero', 'int12', 'text', 'id64', 'random', 'cut', 'almost', 'zero'];
const pages = kinds.map((kind, i) => {
  const page = new Uint8Array(4096);
  makePage(kind, new Prng(i), page);
  return page;
});

const BATCH = 5000;

test('put, get and drop of whole pages make no garbage', { skip }, () => {
  const store = new Store({
    slots: 4096,
    budget: new Budget(3_000_000),
    release: new FakeReturns().factory,
  });
  const target = new Uint8Array(4096);
  const prng = new Prng(1);
  const step = (): void => {
    for (let i = 0; i < BATCH; i++) {
      const slot = slotOf(prng.u32() & 4095);
      const what = prng.u32() & 15;
      if (what < 6) store.put(slot, pages[what]!, 0);
      else if (what < 7) store.putWord(slot, what, what);
      else if (what < 11) store.get(slot, target, 0);
      else store.drop(slot);
    }
    store.maintain(64);
  };
  const bytes = leastAllocated(3, 70, step);
  assert.ok(bytes < 70 * BATCH, `${bytes} bytes for ${70 * BATCH} operations`);
  store.verify();
});

test('a disk serves whole pages without garbage', { skip }, () => {
  const disk = new Ramzswap({
    sizeBytes: 4096 * 1024,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
  });
  const prng = new Prng(2);
  const bios = Array.from({ length: 32 }, () => new Bio());
  const target = new Uint8Array(4096);
  let ended = 0;
  const owner: BioOwner = {
    bioEnd: () => {
      ended++;
    },
  };
  const ops = [BioOp.read, BioOp.write, BioOp.discard, BioOp.writeZeroes];
  const step = (): void => {
    for (let i = 0; i < BATCH; i += 32) {
      for (const bio of bios) {
        bio.op = ops[prng.u32() & 3]!;
        bio.offset = (prng.u32() & 1023) * 4096;
        bio.length = 4096;
        bio.data = bio.op === BioOp.write ? pages[prng.u32() & 7]! : target;
        bio.owner = owner;
        disk.submit(bio);
      }
      disk.tick();
    }
  };
  const bytes = leastAllocated(3, 40, step);
  // An object or a view for each request would be 16 bytes and more. In some runs the compiler leaves a call as a call, and
  // a number is boxed for one request in eight.
  assert.ok(bytes < 4 * 40 * BATCH, `${bytes} bytes for ${40 * BATCH} requests`);
  assert.ok(ended >= 3 * 40 * BATCH);
});
