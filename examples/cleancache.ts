/**
 * A file system that puts evicted clean pages into cleancache, and tries to get a page there before it reads its disk.
 * The cache has space for 500 pages; the files have 800.
 *
 *   node build/examples/cleancache.js
 */
import { Cleancache, inodeKey, TmemCleancache } from 'frontswap/cleancache';
import { Budget, Store, Tmem, tmemStore } from 'frontswap/tmem';

const PAGE_BYTES = 4096;
const tmem = new Tmem({ store: tmemStore(new Store({ slots: 500, budget: new Budget(0) })) });
const cache = new Cleancache();
cache.register(new TmemCleancache(tmem, tmem.addClient()));
const mount = cache.initFs(PAGE_BYTES);

const key = new Uint32Array(6);
const page = new Uint8Array(PAGE_BYTES);
function readFromDisk(inode: number, index: number): void {
  page.fill(0);
  new TextEncoder().encodeInto(`inode ${inode}, page ${index}\n`.repeat(180), page);
}

for (let inode = 0; inode < 8; inode++)
  for (let index = 0; index < 100; index++) {
    readFromDisk(inode, index);
    inodeKey(inode, key);
    cache.put(mount, key, index, page, 0);
  }

inodeKey(7, key);
cache.invalidatePage(mount, key, 0); // page 0 of inode 7 was written

let hits = 0;
const into = new Uint8Array(PAGE_BYTES);
for (let inode = 0; inode < 8; inode++)
  for (let index = 0; index < 100; index++) {
    inodeKey(inode, key);
    if (!cache.get(mount, key, index, into, 0)) continue;
    readFromDisk(inode, index);
    if (Buffer.compare(into, page) !== 0) throw new Error(`inode ${inode}, page ${index} differs`);
    hits++;
  }
console.log(`${hits} of 800 pages were in the cache`);
cache.invalidateFs(mount); // unmount: drops all its pages
console.log(`after the unmount: ${tmem.freeableBytes} bytes`);
