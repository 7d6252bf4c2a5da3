/** Run by page-release.test.ts in a child process: fills a store, empties it, prints resident bytes as JSON. */
import { readFileSync } from 'node:fs';
import { Budget } from '../../../src/arena/budget.ts';
import { Prng } from '../../../src/base/prng.ts';
import { slot } from '../../../src/base/units.ts';
import { systemPageRelease } from '../../../src/os/linux/page-release.ts';
import { GetResult, PutResult } from '../../../src/store/results.ts';
import { Store } from '../../../src/store/store.ts';

const residentBytes = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;

const pages = Number(process.argv[2]);
const store = new Store({
  slots: pages,
  budget: new Budget(0),
  release: systemPageRelease(process.platform),
});
const prng = new Prng(1);
const page = new Uint8Array(4096);
prng.fill(page);
const start = residentBytes();
let refused = 0;
for (let n = 0; n < pages; n++) {
  page[n & 4095]! += 1 + (n >>> 12); // all pages differ and are incompressible
  if (store.put(slot(n), page, 0) !== PutResult.stored) refused++;
}
const filled = residentBytes();
// Most pages are freed one by one, as by a guest, with maintenance in between.
let calls = 0;
for (let n = 0; n < pages; n++) {
  if (n % 64 !== 0) store.drop(slot(n));
  if (n % 512 === 0) store.maintain(64);
}
while (store.maintain(64) && calls < 10_000) calls++;
const maintained = residentBytes();
const intact = store.get(slot(64), page, 0) === GetResult.found;
store.dropRange(slot(0), pages);
store.releaseAll();
store.verify();
const emptied = residentBytes();
console.log(JSON.stringify({ start, filled, maintained, emptied, refused, calls, intact }));
