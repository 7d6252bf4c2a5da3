/** The rules of the rings: each limit from both sides, and notifications over the wrap of the indexes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import {
  BROKEN,
  DESCRIPTORS_MAX,
  EMPTY,
  QUEUE_SIZE_MAX,
  QueueFault,
  SplitQueue,
} from '../../src/virtio/split-queue.ts';
import {
  AVAIL,
  DESC,
  Driver,
  Guest,
  LOW,
  MIDDLE,
  MIDDLE_BYTES,
  USED,
} from '../support/fakes/virtio-driver.ts';
import { randomTest } from '../support/fixtures/replay.ts';

interface Made {
  readonly guest: Guest;
  readonly driver: Driver;
  readonly queue: SplitQueue;
}

function made(size = 8, { eventIndex = false, indirect = true, start = 0 } = {}): Made {
  const guest = new Guest();
  const driver = new Driver(guest, size, eventIndex, start);
  const queue = new SplitQueue();
  assert.ok(queue.setSize(size));
  queue.setFeatures(eventIndex, indirect);
  const { desc, avail, used } = driver.setup;
  assert.ok(queue.setAddresses(new GuestMemory(guest.regions), desc, avail, used));
  assert.ok(queue.start(start));
  return { guest, driver, queue };
}

const readable = (length = 16, address: number = MIDDLE) => ({ address, length, writable: false });
const writable = (length = 1, address: number = MIDDLE) => ({ address, length, writable: true });

function breaks({ queue }: Made, fault: QueueFault): void {
  assert.equal(queue.take(), BROKEN);
  assert.equal(queue.fault, fault);
  assert.equal(queue.take(), BROKEN, 'until the next start');
}

test('a queue size must be a power of two from 1 to 1024', () => {
  const queue = new SplitQueue();
  for (const size of [1, 2, QUEUE_SIZE_MAX]) assert.ok(queue.setSize(size));
  for (const size of [0, 3, -1, 1.5, Number.NaN, 2 * QUEUE_SIZE_MAX])
    assert.ok(!queue.setSize(size));
});

test('rings must be aligned and inside one region', () => {
  const { guest, queue } = made();
  queue.stop();
  const memory = new GuestMemory(guest.regions);
  const place = (desc: number, avail: number, used: number) =>
    queue.setAddresses(memory, guest.toUser(desc), guest.toUser(avail), guest.toUser(used));
  assert.ok(place(DESC, AVAIL, USED));
  assert.ok(!place(DESC + 8, AVAIL, USED));
  assert.ok(!place(DESC, AVAIL + 1, USED));
  assert.ok(!place(DESC, AVAIL, USED + 2));
  const end = MIDDLE + MIDDLE_BYTES;
  assert.ok(place(end - 128, AVAIL, USED));
  assert.ok(!place(end - 112, AVAIL, USED));
  assert.ok(place(DESC, end - 22, USED) && !place(DESC, end - 20, USED));
  assert.ok(place(DESC, AVAIL, end - 72) && !place(DESC, AVAIL, end - 68));
  assert.ok(!place(MIDDLE - 16, AVAIL, USED), 'not even over adjacent regions');
  assert.ok(!queue.setAddresses(memory, 0, 0, 0));
});

test('a chain longer than the queue, a loop and an index outside the queue break the queue', () => {
  const full = made();
  full.driver.add(
    Array.from({ length: 8 }, () => readable()),
    false,
  );
  assert.equal(full.queue.take(), 0);
  assert.equal(full.queue.pieces.count, 8);
  const loop = made();
  loop.driver.describe(DESC, 0, readable(), 1);
  loop.driver.describe(DESC, 1, readable(), 0);
  loop.driver.offer(0);
  breaks(loop, QueueFault.chainTooLong);
  const outside = made();
  outside.driver.describe(DESC, 0, readable(), 8);
  outside.driver.offer(0);
  breaks(outside, QueueFault.nextOutside);
});

test('an indirect table with a wrong length or place, a nested one and one that was not negotiated break the queue', () => {
  const offer = (
    length: number,
    more = 4,
    next = -1,
    indirect = true,
    address: number = MIDDLE,
  ) => {
    const case_ = made(8, { indirect });
    for (let i = 0; i < DESCRIPTORS_MAX + 2; i++)
      case_.driver.describe(MIDDLE, i, readable(16, LOW), i + 1 < length / 16 ? i + 1 : -1);
    case_.driver.describe(DESC, 0, { ...readable(length), address }, next, more);
    case_.driver.offer(0);
    return case_;
  };
  for (const length of [16, 32, 16 * 9, 16 * DESCRIPTORS_MAX]) {
    const { queue } = offer(length);
    assert.equal(queue.take(), 0);
    assert.equal(queue.pieces.count, length / 16);
  }
  assert.equal(offer(32, 4 | 2).queue.take(), 0, 'the write flag of the table means nothing');
  breaks(offer(16 * (DESCRIPTORS_MAX + 1)), QueueFault.chainTooLong);
  for (const length of [0, 8, 17]) breaks(offer(length), QueueFault.indirectTable);
  breaks(offer(32, 4, 1), QueueFault.indirectTable);
  breaks(offer(32, 4, -1, false), QueueFault.indirectTable);
  breaks(offer(32, 4, -1, true, MIDDLE + MIDDLE_BYTES - 16), QueueFault.outsideMemory);
  breaks(offer(32, 4, -1, true, MIDDLE - 16), QueueFault.outsideMemory);
  const nested = offer(32);
  nested.driver.describe(MIDDLE, 1, readable(16), -1, 4);
  breaks(nested, QueueFault.indirectTable);
});

test('data may continue in the adjacent region, and only there', () => {
  const both = made();
  both.driver.add([readable(32, MIDDLE - 10)], false);
  assert.equal(both.queue.take(), 0);
  const { pieces } = both.queue;
  assert.deepEqual([...pieces.lengths.subarray(0, pieces.count)], [10, 22]);
  const past = made();
  past.driver.add([readable(11, MIDDLE + MIDDLE_BYTES - 10)], false);
  breaks(past, QueueFault.outsideMemory);
  const before = made();
  before.driver.add([readable(11, LOW - 1)], false);
  breaks(before, QueueFault.outsideMemory);
  const far = made();
  far.driver.describe(DESC, 0, { address: 0, length: 1, writable: false }, -1);
  far.guest.view(DESC, 8).setBigUint64(0, 2n ** 64n - 1n, true);
  far.driver.offer(0);
  breaks(far, QueueFault.outsideMemory);
});

test('a readable descriptor after a writable one breaks the queue, also after an empty one', () => {
  const wrong = made();
  wrong.driver.add([writable(), readable()], false);
  breaks(wrong, QueueFault.writableFirst);
  const empty = made();
  empty.driver.add([writable(0), readable()], false);
  breaks(empty, QueueFault.writableFirst);
});

test('too many available entries, a head outside the queue and a head in flight break the queue', () => {
  const many = made();
  many.guest.view(AVAIL + 2, 2).setUint16(0, 9, true);
  breaks(many, QueueFault.availableCount);
  const outside = made();
  outside.driver.offer(8);
  breaks(outside, QueueFault.headOutside);
  const twice = made();
  twice.driver.add([readable()], false);
  twice.driver.offer(0);
  assert.equal(twice.queue.take(), 0);
  breaks(twice, QueueFault.headInFlight);
});

for (const eventIndex of [false, true])
  randomTest(
    `no side sleeps while the other waits; event index: ${eventIndex}`,
    20_000,
    (prng, steps) => {
      const start = 0x10000 - prng.below(100);
      const { driver, queue } = made(8, { eventIndex, start });
      assert.ok(queue.shouldNotify(), 'once after a start');
      let isAwake = true;
      let isNotified = true;
      let suppressed = 0;
      const heads: number[] = [];
      driver.setUsedEvent(driver.used);
      for (let step = 0; step < steps; step++) {
        if (prng.oneIn(2)) {
          const before = driver.available;
          for (let n = prng.below(3); n > 0; n--) driver.add([readable(), writable()], false);
          if (before !== driver.available) {
            if (driver.needsKick(before)) isAwake = true;
            else suppressed++;
          }
          assert.ok(
            isAwake || driver.available === queueNext(queue, driver),
            'a sleeping device was kicked',
          );
        }
        if (isAwake) {
          queue.ignoreKicks();
          const head = queue.take();
          if (head === EMPTY) isAwake = queue.wantKicks();
          else heads.push(head);
        }
        if (prng.oneIn(2) && heads.length > 0) {
          queue.put(heads.splice(prng.below(heads.length), 1)[0]!, 1);
          if (prng.oneIn(2) && queue.shouldNotify()) isNotified = true;
        }
        if (prng.oneIn(4) && queue.shouldNotify()) isNotified = true;
        if (!isNotified) continue;
        while (driver.reap() !== null);
        driver.setUsedEvent(driver.used);
        isNotified = driver.reap() !== null;
      }
      assert.ok(suppressed > steps / 100, 'some kicks are suppressed');
      assert.ok(driver.available !== start, 'chains passed');
    },
  );

/** The next entry of the device: it has taken all that are not in flight or returned. */
const queueNext = (queue: SplitQueue, driver: Driver): number => {
  const used = driver.guest.view(USED + 2, 2).getUint16(0, true);
  return (used + queue.inFlight) & 0xffff;
};

randomTest('the driver is notified when the used index passes its event', 20_000, (prng, steps) => {
  const { guest, driver, queue } = made(16, { eventIndex: true, start: 0xfff0 });
  assert.ok(queue.shouldNotify());
  let asked = driver.used;
  let notified = 0;
  for (let step = 0; step < steps; step++) {
    while (driver.reap() !== null);
    const event = (driver.used - 2 + prng.below(8)) & 0xffff;
    driver.setUsedEvent(event);
    for (let n = prng.below(6); n > 0; n--) {
      assert.equal(driver.add([writable()], false), queue.take());
      queue.put(takenLast(guest, driver), 0);
    }
    const now = guest.view(USED + 2, 2).getUint16(0, true);
    let isDue = false;
    for (; asked !== now; asked = (asked + 1) & 0xffff) if (asked === event) isDue = true;
    assert.equal(queue.shouldNotify(), isDue);
    if (isDue) notified++;
  }
  assert.ok(notified > steps / 20 && notified < steps, 'some are due, others not');
});

/** The head that was made available last. */
const takenLast = (guest: Guest, { available, size }: Driver): number =>
  guest.view(AVAIL + 4 + (((available - 1) & 0xffff) % size) * 2, 2).getUint16(0, true);

test('empty descriptors of an indirect table count towards the limit', () => {
  for (const count of [DESCRIPTORS_MAX, DESCRIPTORS_MAX + 1]) {
    const case_ = made();
    for (let i = 0; i < count; i++)
      case_.driver.describe(MIDDLE, i, readable(0), i + 1 < count ? i + 1 : -1);
    case_.driver.describe(DESC, 0, readable(16 * count), -1, 4);
    case_.driver.offer(0);
    if (count === DESCRIPTORS_MAX) assert.equal(case_.queue.take(), 0);
    else breaks(case_, QueueFault.chainTooLong);
  }
});
