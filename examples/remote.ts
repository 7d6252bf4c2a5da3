/**
 * Keeps recent pages in a local store and moves cold ones to a Redis server; reads them back from there.
 *
 *   redis-server --port 6379 --maxmemory 64mb &
 *   node build/examples/remote.js 127.0.0.1 6379
 */
import { randomBytes } from 'node:crypto';
import { RemoteBackend, RemotePages, storeBackend, streamSockets } from 'frontswap/remote';
import { Budget, keepPages, lz4 } from 'frontswap/store';
import { Frontswap, LoadResult } from 'frontswap/swap';

const [host = '127.0.0.1', port = '6379'] = process.argv.slice(2);
const open = streamSockets(process.platform);
if (open === null) {
  console.error('remote: blocking sockets need Linux and koffi');
  process.exit(1);
}

const PAGE_BYTES = 4096;
const PAGES = 1000;
const budget = new Budget(0);
const local = storeBackend(budget, lz4, keepPages);
using remote = new RemotePages({
  open: (memory, timeoutMs) => open({ host, port: Number(port) }, memory, timeoutMs),
  clock: { nowNs: () => Number(process.hrtime.bigint()) },
  client: 'example',
  boot: randomBytes(8).toString('hex'),
});
const backend = new RemoteBackend(local, remote, { budget });
const front = new Frontswap();
front.register(backend);
front.init(0, PAGES);
remote.start(); // throws if no server answers, or if it may evict pages

const pageOf = (n: number): Uint8Array =>
  Buffer.from(`page ${n}, `.repeat(600).slice(0, PAGE_BYTES));
for (let n = 0; n < PAGES; n++)
  if (!front.store(0, n, pageOf(n), 0)) throw new Error(`page ${n} was refused`);
while (backend.remotify(64) > 0);
console.log(`${backend.remotePages} of ${PAGES} pages are on ${host}:${port}`);

const into = new Uint8Array(PAGE_BYTES);
for (let n = 0; n < PAGES; n++)
  if (front.load(0, n, into, 0) !== LoadResult.loaded || Buffer.compare(into, pageOf(n)) !== 0)
    throw new Error(`page ${n} differs from the stored page`);
console.log('every page was read back unchanged');
front.invalidateArea(0);
while (backend.maintain());
console.log('all pages are freed, locally and on the server');
