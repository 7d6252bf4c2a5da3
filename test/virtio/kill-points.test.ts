/**
 * Every kill point: the stores of a queue to guest memory and in-flight table are counted, and the queue is killed after each
 * one of them in turn. A second queue over the same memory then takes what is left: each request that was made available is
 * returned exactly once, and served once or again, never less.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { GuestMemory } from '../../src/virtio/guest-memory.ts';
import { inflightBytes } from '../../src/virtio/inflight-table.ts';
import { EMPTY, SplitQueue } from '../../src/virtio/split-queue.ts';
import { Driver, Guest, MIDDLE } from '../support/fakes/virtio-driver.ts';
import { randomTest } from '../support/fixtures/replay.ts';

const SIZE = 8;
class Killed extends Error {}

/** Calls `onStore` after each store by a DataView or Atomics while `body` runs. */
function watchingStores(onStore: () => void, body: () => void): void {
  const names = ['setUint8', 'setUint16', 'setUint32'] as const;
  const { prototype } = DataView;
  const real = names.map((name) => prototype[name]);
  const realStore = Atomics.store;
  names.forEach((name, i) => {
    prototype[name] = function (this: DataView, ...args: [number, number, boolean?]) {
      real[i]!.apply(this, args);
      onStore();
    };
  });
  Atomics.store = ((array: Uint16Array, at: number, value: number) => {
    realStore(array, at, value);
    onStore();
    return value;
  }) as typeof Atomics.store;
  try {
    body();
  } finally {
    names.forEach((name, i) => {
      prototype[name] = real[i]!;
    });
    Atomics.store = realStore;
  }
}

class Trial {
  readonly guest = new Guest();
  readonly driver: Driver;
  readonly area: Uint8Array = new Uint8Array(inflightBytes(SIZE));
  /** For each head in flight: how often a device served it. */
  readonly served = new Map<number, number>();
  returned = 0;
  again = 0;

  constructor(start: number) {
    this.driver = new Driver(this.guest, SIZE, false, start);
  }

  open(): SplitQueue {
    const queue = new SplitQueue();
    queue.setSize(SIZE);
    const { desc, avail, used, base } = this.driver.setup;
    queue.setAddresses(new GuestMemory(this.guest.regions), desc, avail, used);
    queue.setInflight(this.area);
    assert.ok(queue.start(base));
    return queue;
  }

  fill(): void {
    const segments = [{ address: MIDDLE, length: 16, writable: false }];
    for (let head = 0; head !== -1; ) {
      head = this.driver.add(segments, false);
      if (head !== -1) this.served.set(head, 0);
    }
  }

  /** Takes some, returns some in another order. */
  work(queue: SplitQueue, prng: Prng, heads: number[]): void {
    for (let n = 1 + prng.below(4); n > 0; n--) {
      const head = queue.take();
      if (head === EMPTY) break;
      heads.push(head);
    }
    for (let n = prng.below(heads.length + 1); n > 0; n--) {
      const at = prng.below(heads.length);
      const head = heads[at]!;
      this.#serve(head);
      queue.put(head, 0);
      heads.splice(at, 1);
    }
  }

  reap(): void {
    for (let used = this.driver.reap(); used !== null; used = this.driver.reap()) {
      const times = this.served.get(used.head);
      assert.ok(times !== undefined && times > 0, 'what is returned was served');
      if (times > 1) this.again++;
      this.served.delete(used.head);
      this.returned++;
    }
  }

  /** A device that is not killed serves all that is left. */
  drain(): void {
    const queue = this.open();
    for (let head = queue.take(); head !== EMPTY; head = queue.take()) {
      assert.ok(head >= 0, 'the queue is not broken');
      this.#serve(head);
      queue.put(head, 0);
    }
    this.reap();
    assert.equal(this.served.size, 0, 'no request is lost');
    assert.equal(queue.inFlight, 0);
  }

  #serve(head: number): void {
    const times = this.served.get(head);
    assert.ok(times !== undefined, 'what is returned already is not served again');
    this.served.set(head, times + 1);
  }
}

randomTest('a queue that is killed after any store loses no request', 4000, (prng, steps) => {
  let killed = 0;
  let again = 0;
  for (let step = 0; step < steps; step++) {
    const trial = new Trial(prng.oneIn(2) ? 0 : 0x10000 - prng.below(20));
    // Several kills, also of starts that follow a kill.
    for (let kills = 1 + prng.below(3); kills > 0; kills--) {
      let left = 1 + prng.below(70);
      const onStore = (): void => {
        if (--left === 0) throw new Killed();
      };
      trial.fill();
      const work = new Prng(prng.u32());
      const body = (): void => {
        const queue = trial.open();
        const heads: number[] = [];
        for (let n = 0; n < 8; n++) trial.work(queue, work, heads);
      };
      try {
        watchingStores(onStore, body);
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
        killed++;
      }
      trial.reap();
    }
    trial.drain();
    again += trial.again;
  }
  assert.ok(killed > steps, 'most are killed');
  assert.ok(again > 0, 'some requests are served again');
});

test('an in-flight table of another queue is refused', () => {
  const trial = new Trial(0);
  trial.open();
  const view = new DataView(trial.area.buffer);
  const refused = (change: () => void): void => {
    const before = trial.area.slice();
    change();
    const queue = new SplitQueue();
    queue.setSize(SIZE);
    const { desc, avail, used, base } = trial.driver.setup;
    queue.setAddresses(new GuestMemory(trial.guest.regions), desc, avail, used);
    queue.setInflight(trial.area);
    assert.ok(!queue.start(base) && !queue.isRunning);
    trial.area.set(before);
  };
  refused(() => view.setUint16(10, 2 * SIZE, true)); // descriptors
  refused(() => view.setUint16(8, 2, true)); // version
  refused(() => view.setUint16(14, 100, true)); // used index far from that of the ring
  refused(() => {
    view.setUint16(14, 0xffff, true); // one is returned: the last head
    view.setUint16(12, SIZE, true);
  });
  trial.drain();
});
