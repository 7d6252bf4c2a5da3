/** When handshakes start: rate, turns of origins, limits of unfinished ones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import { addressIdentity, processIdentity } from '../../../src/nbd/server/client-identity.ts';
import { type HandshakeLimits, HandshakeQueue } from '../../../src/nbd/server/handshake-queue.ts';
import { oldestNegotiation } from '../../../src/nbd/server/oldest-negotiation.ts';

interface Task {
  readonly origin: string;
}

function rig(limits: Partial<HandshakeLimits>) {
  const started: Task[] = [];
  const evicted: Task[] = [];
  const time = { nowMs: 0 };
  const queue = new HandshakeQueue<Task>(
    { perSecond: 1000, burst: 1000, activeMax: 1000, originMax: 1000, ...limits },
    {
      start: (task) => started.push(task),
      evict: (task) => evicted.push(task),
      nowMs: () => time.nowMs,
    },
  );
  const enter = (origin: string): Task => {
    const task = { origin };
    queue.enter(origin, task);
    return task;
  };
  const origins = (): string => started.map(({ origin }) => origin).join('');
  return { queue, started, evicted, time, enter, origins };
}

/** Lets the queue look at its clock, without a change. */
const look = ({ queue, enter }: ReturnType<typeof rig>): void => queue.leave('x', enter('x'));

test('handshake starts are limited per second, after a burst', () => {
  const made = rig({ perSecond: 10, burst: 3 });
  for (let i = 0; i < 50; i++) made.enter('a');
  assert.equal(made.started.length, 3);
  for (const [nowMs, count] of [
    [99, 3],
    [100, 4],
    [1000, 13 - 1],
  ] as const) {
    made.time.nowMs = nowMs;
    look(made);
    assert.ok(made.started.length <= count + 1, `${made.started.length} at ${nowMs} ms`);
  }
});

test('the charge for a handshake delays its origin, and other origins by an eighth', () => {
  const made = rig({ perSecond: 10, burst: 1 });
  const first = made.enter('a');
  made.queue.charge('a', 16);
  made.queue.leave('a', first);
  made.enter('a');
  made.enter('b');
  for (const [nowMs, origins] of [
    [290, 'a'],
    [310, 'ab'],
    [1590, 'ab'],
    [1710, 'aba'],
  ] as const) {
    made.time.nowMs = nowMs;
    made.queue.leave('b', made.enter('b'));
    assert.equal(made.origins().replace(/(?<=ab)b*/, ''), origins, `at ${nowMs} ms`);
  }
});

test('a handshake that waits for a charge starts by itself once the charge is paid', {
  timeout: 30_000,
}, async () => {
  let started = 0;
  const queue = new HandshakeQueue<Task>(
    { perSecond: 50, burst: 9, activeMax: 9, originMax: 9 },
    { start: () => started++, evict: () => assert.fail(), nowMs: () => performance.now() },
  );
  queue.charge('a', 5);
  queue.enter('a', { origin: 'a' });
  assert.equal(started, 0);
  while (started < 1) await new Promise((resolve) => setTimeout(resolve, 1));
});

test('a waiting handshake starts by itself when it is due', { timeout: 30_000 }, async () => {
  let started = 0;
  const queue = new HandshakeQueue<Task>(
    { perSecond: 50, burst: 1, activeMax: 9, originMax: 9 },
    { start: () => started++, evict: () => assert.fail(), nowMs: () => performance.now() },
  );
  for (let i = 0; i < 3; i++) queue.enter('a', { origin: 'a' });
  assert.equal(started, 1);
  while (started < 3) await new Promise((resolve) => setTimeout(resolve, 1));
});

test('an origin waits for one handshake of each other origin, not for all', () => {
  const made = rig({ perSecond: 1, burst: 1 });
  for (let i = 0; i < 100; i++) made.enter('a');
  made.enter('b');
  made.enter('c');
  for (let second = 1; second <= 4; second++) {
    made.time.nowMs = 1000 * second;
    made.queue.enter('a', { origin: 'a' });
  }
  assert.equal(made.origins(), 'aabca');
});

test('an origin with too many unfinished handshakes waits, others do not', () => {
  const made = rig({ originMax: 2 });
  for (let i = 0; i < 5; i++) made.enter('a');
  made.enter('b');
  assert.equal(made.origins(), 'aab');
  made.queue.leave('a', made.started[0]!);
  assert.equal(made.origins(), 'aaba');
});

test('at the limit the origin with the most handshakes loses its oldest, if the origin of the new one has fewer', () => {
  const made = rig({ activeMax: 4 });
  for (const origin of 'aaab') made.enter(origin);
  made.enter('a');
  assert.equal(made.origins(), 'aaab', 'not for one of its own');
  made.enter('c');
  assert.equal(made.origins(), 'aaabc');
  assert.deepEqual(made.evicted, [made.started[0]]);
});

test('a handshake that leaves while it waits never starts, and is removed once', () => {
  const made = rig({ originMax: 1 });
  const first = made.enter('a');
  const second = made.enter('a');
  const third = made.enter('a');
  made.queue.leave('a', second);
  for (let i = 0; i < 3; i++) made.queue.leave('a', first);
  assert.deepEqual(made.started, [first, third]);
});

test('random handshakes stay within every limit, and none is left waiting', () => {
  for (let seed = 1; seed <= 30; seed++) {
    const prng = new Prng(seed);
    const limits = { perSecond: 100, burst: 5, activeMax: 8, originMax: 3 };
    const made = rig(limits);
    const active = (): Task[] =>
      made.started.filter((task) => !gone.has(task) && !made.evicted.includes(task));
    const gone = new Set<Task>();
    const all: Task[] = [];
    for (let step = 0; step < 400; step++) {
      made.time.nowMs += prng.below(20);
      if (prng.oneIn(2)) all.push(made.enter(String(prng.below(6))));
      const leaving = all[prng.below(all.length + 1)];
      if (leaving !== undefined) {
        gone.add(leaving);
        made.queue.leave(leaving.origin, leaving);
      }
      assert.ok(active().length <= limits.activeMax, `seed ${seed}`);
      for (let origin = 0; origin < 6; origin++)
        assert.ok(
          active().filter((task) => task.origin === String(origin)).length <= limits.originMax,
        );
      assert.ok(made.started.length <= limits.burst + (made.time.nowMs * limits.perSecond) / 1000);
    }
    for (let i = 0; i < 2000; i++) {
      made.time.nowMs += 20;
      const [task] = active();
      if (task !== undefined) gone.add(task);
      if (task !== undefined) made.queue.leave(task.origin, task);
    }
    const lost = all.filter((task) => !gone.has(task) && !made.started.includes(task));
    assert.deepEqual(lost, [], `seed ${seed}`);
  }
});

test('an origin is a user, an IPv4 address, or a network of IPv6', () => {
  const of = (address: string): string => addressIdentity(address).origin;
  assert.equal(of('192.0.2.1'), of('::ffff:192.0.2.1'));
  assert.notEqual(of('192.0.2.1'), of('192.0.2.2'));
  assert.equal(of('2001:db8:1:2::1'), of('2001:db8:1:2:ffff:ffff:ffff:ffff'));
  assert.notEqual(of('2001:db8:1:2::1'), of('2001:db8:1:3::1'));
  assert.equal(of('fe80::1%eth0'), of('fe80::2%eth0'));
  assert.equal(of('2001:db8::1'), of('2001:db8:0:0:5::'));
  assert.equal(of('::1'), 'address 0:0:0:0');
  assert.equal(processIdentity(5, 1000, 1).origin, processIdentity(6, 1000, 2).origin);
  assert.notEqual(processIdentity(5, 1000, 1).origin, processIdentity(5, 0, 1).origin);
});

test('at the limit of connections the origin with the most loses its oldest negotiation', () => {
  const all = [...'baaba'].map((origin, i) => ({
    identity: { key: String(i), origin, text: () => '' },
    isNegotiated: i === 1,
    isClosing: false,
  }));
  assert.equal(oldestNegotiation(all), all[0], 'two of each: the oldest');
  all.push({ ...all[4]!, isNegotiated: false });
  assert.equal(oldestNegotiation(all), all[2]);
  assert.equal(oldestNegotiation(all.map((one) => ({ ...one, isClosing: true }))), null);
});
