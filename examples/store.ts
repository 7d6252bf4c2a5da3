/**
 * A page store with a hard byte ceiling: put pages until it refuses one, read them back, drop half of them.
 *
 *   node build/examples/store.js
 */
import {
  Budget,
  CounterAt,
  GetResult,
  PAGE_BYTES,
  PutResult,
  Store,
  slot,
  systemPageRelease,
} from 'frontswap/store';

const limit = 8 * 2 ** 20;
const store = new Store({
  slots: 100_000,
  budget: new Budget(limit),
  release: systemPageRelease(process.platform),
});

/** A page of records, different for each n. */
function page(n: number): Uint8Array {
  const text = Array.from({ length: 60 }, (_, i) => `{"id":${n * 60 + i},"name":"user ${i}"}`);
  const bytes = new TextEncoder().encode(text.join('\n')).subarray(0, PAGE_BYTES);
  const full = new Uint8Array(PAGE_BYTES);
  full.set(bytes);
  return full;
}

let kept = 0;
while (store.put(slot(kept), page(kept), 0) !== PutResult.refused) kept++;
console.log(`${kept} pages (${kept * PAGE_BYTES} bytes) were accepted before the ceiling`);
console.log(`in use: ${store.usedBytes} of ${limit} bytes, all tables included`);
console.log(`payload: ${store.counter(CounterAt.storedBytes)} bytes`);

const into = new Uint8Array(PAGE_BYTES);
for (let n = 0; n < kept; n++) {
  const found = store.get(slot(n), into, 0);
  if (found !== GetResult.found || Buffer.compare(into, page(n)) !== 0)
    throw new Error(`page ${n} differs from the page that was put`);
}
console.log('every page was read back unchanged');

for (let n = 0; n < kept; n += 2) store.drop(slot(n));
let again = 0;
while (store.put(slot(kept + again), page(kept + again), 0) !== PutResult.refused) again++;
console.log(`after half of them were dropped, ${again} others fit`);
