/** put, get and flush allocate nothing: the heap grows by less than a byte per operation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { Prng } from '../../src/base/prng.ts';
import { Store } from '../../src/store/store.ts';
import { Tmem } from '../../src/tmem/tmem.ts';
import { tmemStore } from '../../src/tmem/tmem-store.ts';
import { makePage, pageKinds } from '../model/pages.ts';

const collect = (globalThis as { gc?: () => void }).gc;
const skip = collect === undefined ? 'needs --expose-gc' : false;
const BATCH = 5000;
const BATCHES = 30;

/** Bytes that the batches allocate: the heap's growth over each, summed. */
function allocatedBytes(batch: () => void): number {
  collect?.();
  let sum = 0;
  let before = process.memoryUsage().heapUsed;
  for (let i = 0; i < BATCHES; i++) {
    batch();
    const now = process.memoryUsage().heapUsed;
    if (now > before) sum += now - before;
    before = now;
  }
  return sum;
}

test('put, get, flush and eviction allocate nothing', { skip }, () => {
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
  // Drawn beforehand, as small integers: a number above 2^31 is an object to V8.
  const chance = Int32Array.from({ length: 4099 }, () => prng.u32() & 0xffff);
  let drawn = 0;
  const draw = (mask: number): number => {
    drawn = (drawn + 1) % chance.length;
    return chance[drawn]! & mask;
  };
  const batch = (): void => {
    for (let i = 0; i < BATCH; i++) {
      const oid = oids[draw(7)]!;
      const index = draw(127) - 256;
      const client = draw(1);
      const what = draw(31);
      if (what < 12) {
        const page = what < 10 ? pages[what]! : own;
        own[draw(4095)] = draw(255);
        tmem.put(client, what & 1, oid, index, page, 0);
      } else if (what < 22) tmem.get(client, what & 1, oid, index, target, 0);
      else if (what < 31) tmem.flushPage(client, what & 1, oid, index);
      else tmem.flushObject(client, what & 1, oid);
    }
    tmem.relinquish(20_000);
    tmem.maintain();
  };
  let least = Number.POSITIVE_INFINITY;
  // The first rounds include compilation; on a busy machine many do.
  for (let round = 0; round < 3 || (round < 60 && least >= BATCHES * BATCH); round++)
    least = Math.min(least, allocatedBytes(batch));
  assert.ok(least < BATCHES * BATCH, `${least} bytes for ${BATCHES * BATCH} operations`);
  assert.ok(tmem.index.counters.get('evictions') > 0);
  tmem.verify();
});
