/** The calls of a store make no garbage: alone, below frontswap and below a disk. */
import assert from 'node:assert/strict';
import { Budget } from '../../src/arena/budget.ts';
import { Prng } from '../../src/base/prng.ts';
import { slot as slotOf } from '../../src/base/units.ts';
import { Bio, BioOp, type BioOwner } from '../../src/block/bio.ts';
import { Ramzswap } from '../../src/block/disks/ramzswap/ramzswap.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { storeBackend } from '../../src/frontswap/backends/store-backend.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { Store } from '../../src/store/store.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import { noGarbageTest } from '../support/fixtures/no-garbage.ts';
import { makePage, type PageKind } from '../support/fixtures/pages.ts';

const kinds: PageKind[] = ['zero', 'word64', 'text', 'records', 'random', 'cut', 'almost', 'zero'];
const pages = kinds.map((kind, i) => {
  const page = new Uint8Array(4096);
  makePage(kind, new Prng(i), page);
  return page;
});

const MAINTAIN_EVERY = 5000;

noGarbageTest('put, get and drop of full pages make no garbage', () => {
  const store = new Store({
    slots: 4096,
    budget: new Budget(3_000_000),
    release: new FakeReturns().factory,
  });
  const target = new Uint8Array(4096);
  const prng = new Prng(1);
  const run = (i: number): void => {
    const slot = slotOf(prng.below(4096));
    const what = prng.below(16);
    if (what < 6) store.put(slot, pages[what]!, 0);
    else if (what < 7) store.putWord(slot, what, what);
    else if (what < 11) store.get(slot, target, 0);
    else store.drop(slot);
    if (i % MAINTAIN_EVERY === 0) store.maintain(64);
  };
  return { run, check: () => store.verify() };
});

noGarbageTest('a disk serves full pages without garbage', () => {
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
  const run = (i: number): void => {
    const bio = bios[i % bios.length]!;
    bio.op = ops[prng.below(4)]!;
    bio.offset = prng.below(1024) * 4096;
    bio.length = 4096;
    bio.data = bio.op === BioOp.write ? pages[prng.below(8)]! : target;
    bio.owner = owner;
    disk.submit(bio);
    if (i % bios.length === bios.length - 1) disk.tick();
  };
  return { run, check: () => assert.ok(ended > 20_000) };
});

noGarbageTest('store, load and free through the front end make no garbage', () => {
  const backend = storeBackend(new Budget(0), lz4, new FakeReturns().factory);
  const front = new Frontswap();
  front.register(backend);
  front.init(0, 2048);
  const into = new Uint8Array(4096);
  const run = (i: number): void => {
    const what = i % (3 * 2048);
    if (what < 2048) front.store(0, what, pages[what & 7]!, 0);
    else if (what < 2 * 2048) front.load(0, (what * 769) & 2047, into, 0);
    else front.invalidatePage(0, what - 2 * 2048);
  };
  return { run, check: () => backend.verify() };
});
