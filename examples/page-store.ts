/**
 * A page store with a hard byte ceiling: put until it refuses, see what it cost, take pages back, give some up.
 *
 *   node build/examples/page-store.js        in a program of your own: import from 'frontswap'
 */
import {
  Budget,
  CounterAt,
  Get,
  PAGE_BYTES,
  Put,
  Store,
  slot,
  systemPageRelease,
} from '../src/index.ts';

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
  const whole = new Uint8Array(PAGE_BYTES);
  whole.set(bytes);
  return whole;
}

let kept = 0;
while (store.put(slot(kept), page(kept), 0) !== Put.refused) kept++;
console.log(`${kept} pages (${kept * PAGE_BYTES} bytes) were accepted before the ceiling`);
console.log(`in use: ${store.usedBytes} of ${limit} bytes, all tables included`);
console.log(`payload: ${store.counter(CounterAt.storedBytes)} bytes`);

const into = new Uint8Array(PAGE_BYTES);
for (let n = 0; n < kept; n++) {
  const found = store.get(slot(n), into, 0);
  if (found !== Get.found || Buffer.compare(into, page(n)) !== 0)
    throw new Error(`page ${n} is not what was put`);
}
console.log('every page came back as it was put');

for (let n = 0; n < kept; n += 2) store.drop(slot(n));
let again = 0;
while (store.put(slot(kept + again), page(kept + again), 0) !== Put.refused) again++;
console.log(`half given up, and at once there was room for ${again} others`);
