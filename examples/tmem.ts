/**
 * A host with memory for 1000 pages and two clients of weights 1 and 3. Both cache more pages than fit, one also swaps.
 * Prints the number of pages of each client while memory is shared, frozen, relinquished and moved to another host.
 *
 *   node build/examples/tmem.js
 */
import {
  Budget,
  Restore,
  Save,
  Store,
  Tmem,
  TmemGetResult,
  TmemPutResult,
  tmemStore,
} from 'frontswap/tmem';

const PAGE_BYTES = 4096;
const host = new Tmem({ store: tmemStore(new Store({ slots: 1000, budget: new Budget(0) })) });
const names = ['small', 'large'];
const small = host.addClient({ weight: 1 });
const large = host.addClient({ weight: 3 });
const caches = [host.newPool(small), host.newPool(large)];
const swap = host.newPool(large, { persistent: true });

const page = new Uint8Array(PAGE_BYTES);
const oid = new Uint32Array(6); // one object is enough here
function pageOf(client: number, n: number): Uint8Array {
  page.fill(0);
  new TextEncoder().encodeInto(`page ${n} of ${names[client]}, `.repeat(100), page);
  return page;
}

function show(when: string): void {
  console.log(when);
  for (const [id, name] of names.entries()) {
    const { weight, frozen, counters } = host.clientOf(id)!;
    const counts = `${counters.get('ephemeralPages')} ephemeral, ${counters.get('persistentPages')} persistent`;
    const evicted = `${counters.get('evictedPages')} evicted`;
    console.log(`  ${name}  weight ${weight}  ${counts}, ${evicted}${frozen ? ', frozen' : ''}`);
  }
  console.log(`  freeable: ${host.freeableBytes} bytes`);
}

for (let n = 0; n < 2000; n++) host.put(small, caches[0]!, oid, n, pageOf(small, n), 0);
show('small is the only client with pages and may use all the memory');

for (let n = 0; n < 2000; n++) host.put(large, caches[1]!, oid, n, pageOf(large, n), 0);
show('large fills its cache: the memory is divided 1 to 3, by weight');

for (let n = 0; n < 400; n++)
  if (host.put(large, swap, oid, n, pageOf(large, n + 5000), 0) !== TmemPutResult.stored)
    throw new Error('a swapped page was refused although ephemeral pages could be evicted');
show('large swaps out 400 pages: both caches shrink, by weight');

host.freeze(small);
console.log(`small is frozen; the host asks for 4000 bytes and gets ${host.relinquish(4000)}`);
show('then');

// A live handover: large keeps working while its pages are copied to another host.
const other = new Tmem({ store: tmemStore(new Store({ slots: 1000, budget: new Budget(0) })) });
const save = new Save(host, large);
const restore = new Restore(other);
const sink = (chunk: Uint8Array): void => {
  restore.push(chunk);
};
for (let n = 0; save.step(sink, 64) > 8; n++) {
  host.put(large, swap, oid, n, pageOf(large, n + 9000), 0);
  host.flushPage(large, swap, oid, 399 - n);
}
const moved = save.finish(sink);
host.destroyClient(large);
const into = new Uint8Array(PAGE_BYTES);
const found = other.get(restore.client, swap, oid, 0, into, 0);
if (found !== TmemGetResult.found || Buffer.compare(into, pageOf(large, 9000)) !== 0)
  throw new Error('page 0 differs from the page that was put during the copy');
if (other.get(restore.client, swap, oid, 399, into, 0) !== TmemGetResult.absent)
  throw new Error('page 399 was flushed during the copy and is still there');
console.log(`handed over ${moved} pages, including the changes made during the copy`);
