/** The client's session: fitness check, password, lease, deletion of dead boots' pages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SwapError } from '../../src/base/errors.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import { FakePeer } from '../support/fakes/fake-peer.ts';
import { madePage as page } from '../support/fixtures/pages.ts';
import { BOOT, type Rig, type RigOptions, rig } from '../support/fixtures/remote-rig.ts';

const into = new Uint8Array(4096);
const leaseKey = `frontswap:vm1:${BOOT}:lease`;
const OLDER = '00000000000000aa';

function storeAndSend(r: Rig, n: number): void {
  for (let i = 0; i < n; i++) r.front.store(0, i, page('text', i), 0);
  assert.equal(r.backend.remotify(n), n);
}

test('C23 a remote machine that evicts is refused, at the start and at every new connection', () => {
  for (const policy of ['allkeys-lru', 'volatile-lru', 'allkeys-random', 'volatile-ttl']) {
    const r = rig();
    r.peer.redis.policy = policy;
    assert.throws(() => r.remote.start(), {
      code: 'ERR_PEER_UNFIT',
      facts: { reason: `its maxmemory-policy is ${policy}` },
    });
    assert.equal(r.remote.isUp, false);
    r.front.store(0, 0, page('text', 0), 0);
    r.peer.clock.ms += 60_000;
    assert.equal(r.backend.remotify(1), 0);
    assert.equal(r.peer.redis.pages, 0);
    r.peer.redis.policy = 'noeviction';
    r.peer.clock.ms += 60_000;
    assert.equal(r.backend.remotify(1), 1);
  }
});

test('start() says why it cannot connect, or why the remote machine is unfit', () => {
  const down = rig();
  down.peer.isDown = true;
  assert.throws(() => down.remote.start(), { code: 'ERR_IO_NOT_REACHABLE', message: /ECONNREF/ });
  const mute = rig();
  mute.peer.redis.forbids = 'INFO';
  assert.throws(() => mute.remote.start(), { code: 'ERR_PEER_UNFIT', message: /NOPERM/ });
  const late = rig();
  late.peer.fault = 'stuck';
  assert.throws(() => late.remote.start(), { code: 'ERR_IO_NOT_REACHABLE' });
  const fit = rig();
  fit.remote.start();
  assert.ok(fit.remote.isUp && fit.remote.hasLease);
});

test('terminal control sequences in a reply are escaped in the error message', () => {
  const r = rig();
  r.peer.redis.forbids = 'INFO';
  r.peer.redis.forbidsText = `\x1b[2J\x07no\xff ${'x'.repeat(150)}`;
  assert.throws(
    () => r.remote.start(),
    (error: Error) => {
      assert.match(error.message, /\\x1b\[2J\\x07no\\xff x/);
      assert.match(error.message, /^[ -~]{1,200}$/);
      return true;
    },
  );
});

test('AUTH is sent with or without a user', () => {
  const r = rig({ password: 'sësame' });
  r.peer.redis.password = Buffer.from('sësame').toString('latin1');
  r.remote.start();
  const named = rig({ password: 'x', user: 'pages' });
  named.peer.redis.password = 'x';
  named.remote.start();
  const wrong = rig({ password: 'y' });
  wrong.peer.redis.password = 'x';
  assert.throws(() => wrong.remote.start(), { code: 'ERR_PEER_UNFIT', message: /password/ });
});

test('invalid options are rejected with their name', () => {
  for (const bad of [{ client: '' }, { client: 'a:b' }, { client: '*' }, { boot: 'xyz' }])
    assert.throws(() => rig(bad), { code: 'ERR_ARG_VALUE' });
  for (const bad of [{ password: 5 }, { user: {} }, { open: 1 }, { codec: 'lz4' }])
    assert.throws(() => rig(bad as object), { code: 'ERR_ARG_VALUE', message: /; use / });
  assert.throws(
    () => rig({ password: 'x'.repeat(4097) }),
    (error: Error) => {
      assert.equal((error as SwapError).code, 'ERR_ARG_VALUE');
      assert.doesNotMatch(JSON.stringify(error) + error.message, /xx/, 'a password is not shown');
      return true;
    },
  );
  for (const ms of [0, -1, 1.5, 2 ** 31, Number.NaN]) {
    assert.throws(() => rig({ deadlineMs: ms }), { code: 'ERR_ARG_VALUE' });
    assert.throws(() => rig({ leaseMs: ms }), { code: 'ERR_ARG_VALUE' });
  }
  const message = /deadlineMs is 0; use an integer from 1 to 2147483647/;
  assert.throws(() => rig({ deadlineMs: 0 }), {
    message,
    facts: { name: 'deadlineMs', value: '0' },
  });
  const misspelt = { deadlineMS: 5 } as RigOptions;
  assert.throws(() => rig(misspelt), {
    code: 'ERR_ARG_UNKNOWN',
    message: /no option 'deadlineMS'; did you mean 'deadlineMs'\?/,
  });
});

test('maintain() keeps the lease alive, also on a full remote machine', () => {
  const r = rig({ leaseMs: 9000 });
  storeAndSend(r, 1);
  r.peer.redis.isFull = true;
  for (let i = 0; i < 20; i++) {
    r.peer.clock.ms += 3000;
    r.backend.maintain();
    assert.ok(r.peer.redis.strings.get(leaseKey)! > r.peer.clock.ms + 5000);
  }
});

test('C23 without a lease no page is moved, because another boot could delete it', () => {
  const r = rig({ leaseMs: 9000 });
  r.peer.redis.isFull = true;
  r.front.store(0, 0, page('text', 0), 0);
  assert.equal(r.backend.remotify(1), 0);
  assert.ok(r.remote.isUp);
  assert.equal(r.backend.counters.get('remotifyStopped'), 1);
  assert.equal(r.peer.sent.get('HSET'), undefined);
  r.peer.redis.isFull = false;
  r.peer.clock.ms += 3000;
  assert.equal(r.backend.remotify(1), 1);
  r.peer.redis.strings.clear(); // lost in a restart
  r.peer.clock.ms += 3000;
  r.backend.maintain();
  assert.ok(r.peer.redis.strings.has(leaseKey));
});

test('pages of dead boots are deleted; those of living boots and of other clients stay', () => {
  const peer = new FakePeer();
  const leave = (key: string): void => {
    peer.redis.hashes.set(key, new Map([['f', Buffer.from('v')]]));
  };
  for (let i = 0; i < 10; i++) leave(`frontswap:vm1:${OLDER}:1.${i}`);
  const living = 'frontswap:vm1:00000000000000bb';
  peer.redis.strings.set(`${living}:lease`, peer.clock.ms + 5000);
  const kept = [
    `${living}:1.0`,
    'frontswap:vm2:00000000000000aa:1.0',
    'frontswap:vm1:other',
    `frontswap:vm1:${OLDER}:1.2.3`,
    `frontswap:vm1:${OLDER}:config`,
  ];
  kept.forEach(leave);
  const r = rig({ peer, leaseMs: 9000 });
  storeAndSend(r, 3);
  while (r.backend.maintain());
  assert.equal(r.remote.sweptKeys, 10);
  for (const key of kept) assert.ok(peer.redis.hashes.has(key), key);
  for (let i = 0; i < 3; i++) assert.equal(r.front.load(0, i, into, 0), LoadResult.loaded);
  // The living boot dies; one lease later its pages are deleted as well.
  peer.clock.ms += 9000;
  while (r.backend.maintain());
  assert.equal(r.remote.sweptKeys, 11);
  assert.ok(!peer.redis.hashes.has(`${living}:1.0`));
  const scans = peer.sent.get('SCAN');
  peer.clock.ms += 90_000;
  while (r.backend.maintain());
  assert.equal(peer.sent.get('SCAN'), scans, 'then nothing is left to scan for');
});

test('a user who may not scan or delete can still store pages', () => {
  for (const forbids of ['SCAN', 'EXISTS', 'UNLINK']) {
    const peer = new FakePeer();
    peer.redis.hashes.set(`frontswap:vm1:${OLDER}:1.0`, new Map());
    peer.redis.forbids = forbids;
    const r = rig({ peer });
    storeAndSend(r, 2);
    while (r.backend.maintain());
    assert.equal(r.peer.connects, 1, forbids);
    assert.ok(peer.redis.hashes.has(`frontswap:vm1:${OLDER}:1.0`));
    assert.equal(r.front.load(0, 0, into, 0), LoadResult.loaded);
  }
});

test('replies that arrive byte by byte are read', () => {
  const r = rig();
  r.peer.fault = 'drip';
  storeAndSend(r, 5);
  for (let i = 0; i < 5; i++) assert.equal(r.front.load(0, i, into, 0), LoadResult.loaded);
  assert.equal(r.peer.connects, 1);
});

test('an unrequested reply closes the connection and is never taken for a page', () => {
  const r = rig();
  storeAndSend(r, 5);
  r.peer.unasked = '$-1\r\n';
  assert.equal(
    r.front.load(0, 0, into, 0),
    LoadResult.corrupt,
    'the unrequested nil is taken for the reply',
  );
  assert.equal(
    r.front.load(0, 1, into, 0),
    LoadResult.corrupt,
    'the previous reply is left over: the connection closes',
  );
  assert.equal(r.remote.isUp, false);
  for (let i = 0; i < 5; i++) assert.equal(r.front.load(0, i, into, 0), LoadResult.loaded);
});

test('an exchange has one deadline, however slowly its replies arrive', () => {
  const r = rig({ deadlineMs: 500 });
  for (let i = 0; i < 32; i++) r.front.store(0, i, page('text', i), 0);
  while (r.backend.maintain());
  r.peer.fault = 'drip';
  r.peer.dripBytes = ':1\r\n'.length;
  r.peer.dripMs = 100;
  const before = r.peer.clock.ms;
  assert.ok(r.backend.remotify(32) < 32);
  const tookMs = r.peer.clock.ms - before;
  assert.ok(tookMs <= 2 * 500, `${tookMs} ms`);
  assert.equal(r.remote.isUp, false, 'it was late');
});

test('a sweep step is bounded, however many keys it finds and however slow the remote machine is', () => {
  const r = rig({ deadlineMs: 500 });
  for (let i = 0; i < 1000; i++) {
    const boot = i.toString(16).padStart(16, '0');
    r.peer.redis.hashes.set(`frontswap:vm1:${boot}:1.0`, new Map());
  }
  r.peer.redis.scansForever = true;
  r.remote.start();
  r.peer.fault = 'drip';
  r.peer.dripBytes = 128 * 1024;
  r.peer.dripMs = 100;
  const before = r.peer.clock.ms;
  r.backend.maintain();
  const tookMs = r.peer.clock.ms - before;
  assert.ok(tookMs <= 2000, `${tookMs} ms`);
  assert.ok(r.remote.sweptKeys > 0, 'and it makes progress');
});

test('a scan that never ends pauses for the time of a lease, then continues', () => {
  const r = rig({ leaseMs: 9000 });
  r.peer.redis.scansForever = true;
  r.remote.start();
  const scans = (): number => r.peer.sent.get('SCAN') ?? 0;
  const turnOfScans = (): number => {
    const before = scans();
    for (let steps = 0; r.backend.maintain(); steps++) assert.ok(steps < 10_000, 'maintain() ends');
    return scans() - before;
  };
  assert.equal(turnOfScans(), 4096);
  assert.equal(turnOfScans(), 0);
  r.peer.clock.ms += 8999;
  assert.equal(turnOfScans(), 0);
  r.peer.clock.ms += 1;
  assert.equal(turnOfScans(), 4096);
});

test('a step of a scan returns at most 4096 keys', () => {
  for (const [keys, isTaken] of [
    [4096, true],
    [4097, false],
  ] as const) {
    const peer = new FakePeer();
    for (let i = 1; i < keys; i++) peer.redis.hashes.set(`frontswap:vm1:${i}`, new Map());
    peer.redis.scansForever = true;
    const r = rig({ peer }); // its lease is a key as well
    r.remote.start();
    r.backend.maintain();
    assert.equal(peer.sent.get('SCAN'), 1);
    assert.equal(r.remote.isUp, isTaken, `${keys} keys`);
  }
});
