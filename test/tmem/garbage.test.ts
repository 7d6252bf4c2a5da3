/** Puts, gets, flushes and evictions leave no garbage. */
import assert from 'node:assert/strict';
import { Budget } from '../../src/arena/budget.ts';
import { Prng } from '../../src/base/prng.ts';
import { Store } from '../../src/store/store.ts';
import { Tmem } from '../../src/tmem/tmem.ts';
import { tmemStore } from '../../src/tmem/tmem-store.ts';
import { noGarbageTest } from '../support/fixtures/no-garbage.ts';
import { makePage, pageKinds } from '../support/fixtures/pages.ts';

const MAINTAIN_EVERY = 5000;

noGarbageTest('put, get, flush and eviction make no garbage', () => {
  const store = new Store({ slots: 2048, budget: new Budget(1_500_000) });
  const tmem = new Tmem({ store: tmemStore(store), seed: 1 });
  const prng = new Prng(1);
  const pages = pageKinds.map((kind) => {
    const page = new Uint8Array(4096);
    makePage(kind, prng, page);
    return page;
  });
  for (let client = 0; client < 2; client++) {
    tmem.addClient({ weight: client + 1 });
    tmem.newPool(client, { persistent: true });
    tmem.newPool(client);
  }
  const target = new Uint8Array(4096);
  const oids = Array.from({ length: 8 }, (_, i) => new Uint32Array([i, 0, 0, 0, 0, 0xffff_ffff]));
  const own = new Uint8Array(4096);
  const run = (i: number): void => {
    const oid = oids[prng.below(8)]!;
    const index = prng.below(128) - 256;
    const client = prng.below(2);
    const what = prng.below(32);
    if (what < 12) {
      const page = what < 10 ? pages[what]! : own;
      own[prng.below(4096)] = prng.below(256);
      tmem.put(client, what & 1, oid, index, page, 0);
    } else if (what < 22) tmem.get(client, what & 1, oid, index, target, 0);
    else if (what < 31) tmem.flushPage(client, what & 1, oid, index);
    else tmem.flushObject(client, what & 1, oid);
    if (i % MAINTAIN_EVERY !== 0) return;
    tmem.relinquish(20_000);
    tmem.maintain();
  };
  const check = (): void => {
    assert.ok(tmem.index.counters.get('evictions') > 0);
    tmem.verify();
  };
  return { run, check };
});
