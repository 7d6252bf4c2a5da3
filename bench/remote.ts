/**
 * Fetching a page from redis-server on this machine, over a Unix socket and over loopback TCP, next to a get of the
 * same page from the local store. Wall time, because a round trip is mostly waiting.
 */
import { randomBytes } from 'node:crypto';
import { Budget } from '../src/arena/budget.ts';
import { keepPages } from '../src/arena/ops.ts';
import { PageFormat } from '../src/codec/codec.ts';
import { lz4 } from '../src/codec/lz4.ts';
import { RemoteBackend } from '../src/frontswap/backends/remote-backend.ts';
import { storeBackend } from '../src/frontswap/backends/store-backend.ts';
import type { StreamAddress } from '../src/os/linux/stream-socket.ts';
import { FetchResult, RemotePages } from '../src/remote/remote-pages.ts';
import { have } from '../test/support/fixtures/processes.ts';
import { Redis, WallClock, way } from '../test/support/fixtures/redis.ts';
import { type BenchOptions, cpuNs, type Table } from './measure.ts';
import { loadPages } from './pages.ts';

const PAGES = 2000;

interface Timed {
  readonly p50: number;
  readonly p99: number;
  readonly mean: number;
  /** Processor time of this process. */
  readonly cpu: number;
}

/** Microseconds per call of `work`. */
function timed(calls: number, work: (i: number) => void): Timed {
  const samples = new Float64Array(calls);
  for (let i = 0; i < Math.min(calls, 300); i++) work(i);
  const cpu = cpuNs();
  const start = performance.now();
  for (let i = 0; i < calls; i++) {
    const before = process.hrtime.bigint();
    work(i);
    samples[i] = Number(process.hrtime.bigint() - before) / 1000;
  }
  const mean = ((performance.now() - start) * 1000) / calls;
  samples.sort();
  return {
    p50: samples[calls >>> 1]!,
    p99: samples[Math.floor(calls * 0.99)]!,
    mean,
    cpu: (cpuNs() - cpu) / 1000 / calls,
  };
}

async function overSocket(
  address: StreamAddress,
  pages: Uint8Array,
): Promise<{ get: Timed; put: number; local: Timed }> {
  const budget = new Budget(0);
  const local = storeBackend(budget, lz4, keepPages);
  const boot = randomBytes(8).toString('hex');
  const options = { open: way(address), clock: new WallClock(), client: 'bench', boot };
  using remote = new RemotePages(options);
  const backend = new RemoteBackend(local, remote, { budget });
  remote.start();
  backend.init(0, PAGES);
  const into = new Uint8Array(4096);
  for (let i = 0; i < PAGES; i++) backend.store(0, i, pages, ((i * 4096) % pages.length) & ~4095);
  const movable: number[] = [];
  for (let i = 0; i < PAGES; i++) if (local.formatOf(0, i) === PageFormat.lz4) movable.push(i);
  const at = (i: number): number => movable[(i * 7919) % movable.length]!;
  const here = timed(5_000, (i) => backend.load(0, at(i), into, 0));
  const start = performance.now();
  const moved = backend.remotify(PAGES);
  const put = ((performance.now() - start) * 1000) / moved;
  // fetch() and not load(): load() stores the page locally again, and the next load would not be remote.
  const get = timed(5_000, (i) => {
    if (remote.fetch(1, at(i), 1, into, 0) !== FetchResult.found)
      throw new Error('fetch() did not find a page');
  });
  backend.invalidateArea(0);
  while (backend.maintain());
  return { get, put, local: here };
}

export async function remote(options: BenchOptions): Promise<Table> {
  const columns = ['get of one page at a time', 'p50 us', 'p99 us', 'mean us', 'processor us'];
  const title = 'remote: a page from redis-server, us';
  if (!have('redis-server'))
    return { title, columns, rows: [], notes: ['redis-server is not installed.'] };
  const { bytes } = await loadPages(options.corpus);
  await using redis = await Redis.start();
  const unix = await overSocket(redis.unix, bytes);
  const tcp = await overSocket(redis.tcp, bytes);
  const row = (name: string, { p50, p99, mean, cpu }: Timed): (string | number)[] => {
    return [name, p50, p99, mean, cpu];
  };
  return {
    title,
    columns,
    rows: [
      row('local store', unix.local),
      row('redis-server, Unix socket', unix.get),
      row('redis-server, loopback TCP', tcp.get),
    ],
    notes: [
      `Moving a page in batches of 32, mean: ${unix.put.toFixed(1)} us by Unix socket, ${tcp.put.toFixed(1)} us by TCP.`,
    ],
  };
}
