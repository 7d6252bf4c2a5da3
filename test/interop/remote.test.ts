/** The remote tier over blocking sockets with a real redis-server: store, load, and failures of the server. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Budget } from '../../src/arena/budget.ts';
import { keepPages } from '../../src/arena/ops.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { RemoteBackend } from '../../src/frontswap/backends/remote-backend.ts';
import { type StoreBackend, storeBackend } from '../../src/frontswap/backends/store-backend.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import type { StreamAddress } from '../../src/os/linux/stream-socket.ts';
import { type RemoteOptions, RemotePages } from '../../src/remote/remote-pages.ts';
import { type PageKind, madePage as page, pageKinds } from '../support/fixtures/pages.ts';
import { peerTest } from '../support/fixtures/processes.ts';
import { Redis, redisTools, WallClock, way } from '../support/fixtures/redis.ts';
import { testSeed } from '../support/fixtures/replay.ts';

const into = new Uint8Array(4096);

class Rig {
  readonly clock: WallClock = new WallClock();
  readonly boot: string = randomBytes(8).toString('hex');
  readonly local: StoreBackend;
  readonly remote: RemotePages;
  readonly backend: RemoteBackend;
  readonly front: Frontswap = new Frontswap();

  constructor(address: StreamAddress, options: Partial<RemoteOptions> = {}) {
    const budget = new Budget(0);
    this.local = storeBackend(budget, lz4, keepPages);
    const { clock, boot } = this;
    this.remote = new RemotePages({ open: way(address), clock, client: 'vm1', boot, ...options });
    this.backend = new RemoteBackend(this.local, this.remote, { budget });
    this.front.register(this.backend);
    this.front.init(0, 4096);
  }

  fill(n: number): void {
    for (let i = 0; i < n; i++) assert.ok(this.front.store(0, i, page('text', i), 0));
  }

  loads(offset: number, seed: number): void {
    assert.equal(this.front.load(0, offset, into, 0), LoadResult.loaded, `slot ${offset}`);
    assert.deepEqual(into, page('text', seed), `slot ${offset}`);
  }

  tendAll(): void {
    while (this.backend.maintain());
  }

  [Symbol.dispose](): void {
    this.remote[Symbol.dispose]();
  }
}

for (const family of ['unix', 'tcp'] as const)
  peerTest(
    `pages are stored in redis-server and loaded again (${family})`,
    redisTools,
    async () => {
      await using redis = await Redis.start();
      using r = new Rig(redis[family]);
      r.remote.start();
      const seed = testSeed();
      const kindOf = (i: number): PageKind => pageKinds[i % pageKinds.length]!;
      for (let i = 0; i < 3000; i++) assert.ok(r.front.store(0, i, page(kindOf(i), seed + i), 0));
      const movable = r.backend.movablePages;
      assert.equal(r.backend.remotify(4000), movable, `SEED=${seed}`);
      assert.ok(movable > 1000);
      assert.equal(await redis.ask('dbsize'), '4', 'three chunks and the lease');
      const [chunk] = (await redis.ask('keys', 'frontswap:vm1:*.0')).split('\n');
      assert.equal(chunk, `frontswap:vm1:${r.boot}:1.0`);
      assert.ok(Number(await redis.ask('pttl', `frontswap:vm1:${r.boot}:lease`)) > 500_000);
      for (let i = 0; i < 1000; i++) r.front.invalidatePage(0, i);
      for (let i = 1000; i < 3000; i++) {
        assert.equal(r.front.load(0, i, into, 0), LoadResult.loaded);
        assert.deepEqual(into, page(kindOf(i), seed + i));
      }
      r.tendAll();
      assert.equal(await redis.ask('dbsize'), '1', 'the lease');
      assert.equal(r.backend.remotify(700), 700);
      r.front.invalidateArea(0);
      r.tendAll();
      assert.equal(await redis.ask('dbsize'), '1');
      r.backend.verify();
      assert.deepEqual(r.backend.counters.violated(), []);
    },
  );

peerTest(
  'C23 redis-server is killed: local pages stay, remote pages are reported lost',
  redisTools,
  async () => {
    await using redis = await Redis.start();
    using r = new Rig(redis.tcp, { pauseMs: 50, pauseMsMax: 200 });
    r.fill(600);
    assert.equal(r.backend.remotify(200), 200);
    await redis.kill();
    assert.equal(r.backend.remotify(100), 0);
    assert.ok(r.backend.counters.get('pers_pages_remote_failed') > 0);
    for (let i = 200; i < 600; i++) r.loads(i, i);
    for (let i = 0; i < 5; i++) assert.equal(r.front.load(0, i, into, 0), LoadResult.corrupt);
    assert.equal(r.backend.counters.get('remoteLost'), 5);
    for (let i = 600; i < 700; i++) assert.ok(r.front.store(0, i, page('text', i), 0));
    r.backend.verify();

    await redis.start(); // empty
    r.clock.aheadMs += 1000;
    assert.equal(r.front.load(0, 7, into, 0), LoadResult.corrupt);
    assert.equal(r.backend.counters.get('remote_pers_pages_unsucc_get'), 1);
    assert.equal(r.backend.remotify(500), 500);
    for (let i = 200; i < 700; i++) r.loads(i, i);
    assert.ok(r.front.store(0, 7, page('text', 1007), 0), 'a lost slot can be reused');
    assert.equal(r.backend.remotify(1000), 501);
    r.loads(7, 1007);
    r.backend.verify();
  },
);

peerTest(
  'C23 redis-server hangs: a load times out, and finds the page later',
  redisTools,
  async () => {
    await using redis = await Redis.start();
    using r = new Rig(redis.unix, { deadlineMs: 100, pauseMs: 10 });
    r.fill(100);
    assert.equal(r.backend.remotify(50), 50);
    redis.signal('SIGSTOP');
    const start = performance.now();
    assert.equal(r.front.load(0, 3, into, 0), LoadResult.corrupt);
    const took = performance.now() - start;
    assert.ok(took > 80, `${took} ms`);
    assert.equal(r.backend.counters.get('remoteLate'), 1);
    assert.equal(r.backend.remotify(50), 0);
    for (let i = 50; i < 100; i++) r.loads(i, i);
    redis.signal('SIGCONT');
    r.clock.aheadMs += 1000;
    for (let i = 0; i < 100; i++) r.loads(i, i);
    r.tendAll();
    assert.equal(await redis.ask('dbsize'), '1', 'unacknowledged records are deleted');
    r.backend.verify();
  },
);

peerTest(
  'C23 redis-server is full: puts are refused, pages stay, frees release space',
  redisTools,
  async () => {
    await using redis = await Redis.start('--maxmemory', '3mb');
    using r = new Rig(redis.tcp);
    const cut = (i: number): Uint8Array => page('poor', i);
    for (let i = 0; i < 2000; i++) assert.ok(r.front.store(0, i, cut(i), 0));
    const movable = r.backend.movablePages;
    const moved = r.backend.remotify(4000);
    assert.ok(moved > 50 && moved < movable, `${moved} of ${movable}`);
    assert.ok(r.backend.counters.get('pers_pages_remote_nomem') > 0);
    r.backend.verify();
    for (let i = 0; i < 2000; i++) {
      assert.equal(r.front.load(0, i, into, 0), LoadResult.loaded);
      assert.deepEqual(into, cut(i));
    }
    r.tendAll();
    assert.ok(r.backend.remotify(10) === 10, 'there is space again');
    r.backend.verify();
    assert.deepEqual(r.backend.counters.violated(), []);
  },
);

peerTest(
  'C23 redis-server with an eviction policy or a password is refused',
  redisTools,
  async () => {
    await using redis = await Redis.start(
      '--maxmemory-policy',
      'allkeys-lru',
      '--requirepass',
      'abc',
    );
    using none = new Rig(redis.tcp);
    assert.throws(() => none.remote.start(), { code: 'ERR_PEER_UNFIT', message: /NOAUTH/ });
    using wrong = new Rig(redis.tcp, { password: 'abd' });
    assert.throws(() => wrong.remote.start(), { code: 'ERR_PEER_UNFIT', message: /password/ });
    using evicting = new Rig(redis.tcp, { password: 'abc' });
    assert.throws(() => evicting.remote.start(), {
      code: 'ERR_PEER_UNFIT',
      message: /allkeys-lru/,
    });
    await redis.ask('-a', 'abc', 'config', 'set', 'maxmemory-policy', 'noeviction');
    using named = new Rig(redis.unix, { password: 'abc', user: 'default' });
    named.remote.start();
    await redis.kill();
    using gone = new Rig(redis.tcp);
    assert.throws(() => gone.remote.start(), { code: 'ERR_IO_NOT_REACHABLE', message: /REFUSED/ });
  },
);

peerTest(
  'the next boot deletes the records of a dead one after its lease has expired',
  redisTools,
  async () => {
    await using redis = await Redis.start();
    const first = new Rig(redis.unix, { leaseMs: 300 });
    first.fill(2000);
    first.backend.remotify(2000);
    first[Symbol.dispose]();
    using next = new Rig(redis.unix, { leaseMs: 300 });
    next.fill(10);
    next.backend.remotify(10);
    next.tendAll();
    const end = performance.now() + 20_000;
    while (next.remote.sweptKeys < 2 && performance.now() < end) {
      await new Promise((done) => setTimeout(done, 20));
      next.tendAll();
    }
    assert.equal(await redis.ask('keys', `*${first.boot}*`), '');
    for (let i = 0; i < 10; i++) next.loads(i, i);
  },
);
