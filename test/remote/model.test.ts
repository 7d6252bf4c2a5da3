/**
 * The remote tier against a map, at random: stores, loads, frees, areas on and off, steps of the background, and a machine
 * that is full, slow, gone or empty again. After each step every page is where the map says, and every counter is what
 * was seen to go over the connection.
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../src/base/prng.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import type { RemoteCounter } from '../../src/remote/counters.ts';
import { randomTest } from '../model/replay.ts';
import type { Fault } from './fake-peer.ts';
import { page, type Rig, type RigOptions, rig } from './rig.ts';

const SLOTS = 60;
const into = new Uint8Array(4096);

interface Held {
  readonly seed: number;
  readonly kind: 'text' | 'records' | 'zero' | 'random';
  isRemote: boolean;
  /** The machine forgot it. */
  isLost: boolean;
  /** Its place in the order in which pages may move on. */
  turn: number;
}

class Twin {
  readonly r: Rig;
  readonly #prng: Prng;
  readonly #held: Map<number, Held> = new Map();
  readonly #want: Map<RemoteCounter, number> = new Map();
  #turn = 0;
  #seed = 0;

  constructor(prng: Prng, options: RigOptions) {
    this.#prng = prng;
    this.r = rig(options);
  }

  step(): void {
    const prng = this.#prng;
    const slot = prng.below(SLOTS);
    const what = prng.below(100);
    this.r.peer.clock.ms += prng.below(3);
    const fault = prng.oneIn(4) ? this.#breakIt() : 'none';
    if (what < 35) this.#store(slot);
    else if (what < 60) this.#load(slot, fault);
    else if (what < 75) this.#free(slot);
    else if (what < 92) this.#remotify(fault);
    else if (what < 96) this.r.backend.tend();
    else if (what < 97) this.#lose();
    else if (what < 98) this.#restartArea();
    this.#mend();
    this.#check();
  }

  #breakIt(): Fault {
    const { peer } = this.r;
    const faults: Fault[] = ['gone', 'cut', 'late', 'stuck', 'drip', 'garbage', 'broken', 'none'];
    peer.fault = faults[this.#prng.below(faults.length)]!;
    peer.keepBytes = this.#prng.below(300);
    peer.redis.isFull = this.#prng.oneIn(4);
    peer.isDown = this.#prng.oneIn(8);
    return peer.isDown ? 'gone' : peer.fault;
  }

  /** All is well again, and time enough has passed for it to be seen. What was on its way arrives, or not yet. */
  #mend(): void {
    const { peer } = this.r;
    if (peer.fault !== 'none' || peer.isDown) peer.clock.ms += 100;
    peer.fault = 'none';
    peer.isDown = false;
    peer.redis.isFull = false;
    if (this.#prng.oneIn(10)) peer.release();
  }

  #add(name: RemoteCounter, n = 1): void {
    this.#want.set(name, (this.#want.get(name) ?? 0) + n);
  }

  #drop(slot: number): void {
    if (this.#held.get(slot)?.isRemote) this.#add('remotePagesFreed');
    this.#held.delete(slot);
  }

  #store(slot: number): void {
    const kind = (['text', 'text', 'records', 'zero', 'random'] as const)[this.#prng.below(5)]!;
    const seed = ++this.#seed;
    const isStored = this.r.front.store(0, slot, page(kind, seed), 0);
    this.#drop(slot);
    if (isStored)
      this.#held.set(slot, { seed, kind, isRemote: false, isLost: false, turn: ++this.#turn });
  }

  #free(slot: number): void {
    this.r.front.invalidatePage(0, slot);
    this.#drop(slot);
  }

  #load(slot: number, fault: Fault): void {
    const held = this.#held.get(slot);
    const refused = this.r.backend.counters.get('repatriationsRefused');
    into.fill(0xee);
    const answer = this.r.front.load(0, slot, into, 0);
    if (held === undefined) {
      assert.equal(answer, LoadResult.absent);
      return;
    }
    if (answer === LoadResult.loaded) {
      assert.ok(!held.isLost, 'what is lost does not come back');
      assert.deepEqual(into, page(held.kind, held.seed));
    } else {
      assert.equal(answer, LoadResult.corrupt);
      assert.ok(
        into.every((byte) => byte === 0xee),
        'nothing is handed out',
      );
      assert.ok(held.isRemote && (held.isLost || fault !== 'none'), 'there is a reason');
      this.#add('remoteLost');
    }
    if (!held.isRemote || answer !== LoadResult.loaded) return;
    this.#add('remote_pers_pages_succ_get');
    if (this.r.backend.counters.get('repatriationsRefused') > refused) {
      this.#add('repatriationsRefused');
      return;
    }
    this.#add('pagesRepatriated');
    held.isRemote = false;
    held.turn = ++this.#turn;
  }

  #remotify(fault: Fault): void {
    const movable = [...this.#held.values()]
      .filter(({ kind, isRemote }) => !isRemote && kind !== 'zero' && kind !== 'random')
      .sort((a, b) => a.turn - b.turn);
    const most = 1 + this.#prng.below(SLOTS);
    const { isFull } = this.r.peer.redis;
    const moved = this.r.backend.remotify(most);
    if ((fault === 'none' || fault === 'drip') && !isFull)
      assert.equal(moved, Math.min(most, movable.length), 'nothing was in the way');
    for (const held of movable.slice(0, moved)) held.isRemote = true;
  }

  #lose(): void {
    this.r.peer.redis.lose();
    this.r.peer.held.length = 0;
    for (const held of this.#held.values()) if (held.isRemote) held.isLost = true;
  }

  #restartArea(): void {
    this.r.front.invalidateArea(0);
    for (const slot of [...this.#held.keys()]) this.#drop(slot);
    this.r.front.init(0, 3000);
  }

  #check(): void {
    const { backend, peer, local } = this.r;
    backend.verify();
    for (const [slot, { isRemote }] of this.#held)
      assert.equal(local.formatOf(0, slot) === 0, isRemote, `slot ${slot} is where it should be`);
    assert.equal(this.r.front.currPages(), this.#held.size);
    const count = (name: RemoteCounter): number => backend.counters.get(name);
    const sent = peer.sent.get('HSET') ?? 0;
    const moved = count('pers_pages_remoted');
    assert.equal(moved + count('pers_pages_remote_failed'), sent, 'each put is one or the other');
    for (const name of [
      'remoteLost',
      'remote_pers_pages_succ_get',
      'pagesRepatriated',
      'repatriationsRefused',
      'remotePagesFreed',
    ] as const)
      assert.equal(count(name), this.#want.get(name) ?? 0, name);
    const isThere = [...this.#held.values()].filter(({ isRemote }) => isRemote).length;
    assert.equal(backend.remotePages, isThere);
    assert.equal(count('remoteDamaged'), 0);
    assert.equal(count('remote_page_flushes_failed'), 0);
  }

  /** In the end all that is not lost comes home, and nothing is left there. */
  end(): void {
    const { peer, front, backend } = this.r;
    peer.release();
    peer.clock.ms += 1000;
    for (const [slot, held] of this.#held) {
      if (held.isLost) continue;
      assert.equal(front.load(0, slot, into, 0), LoadResult.loaded, `slot ${slot}`);
      assert.deepEqual(into, page(held.kind, held.seed));
    }
    front.invalidateArea(0);
    while (backend.tend());
    front.verify();
    backend.verify();
  }
}

const times = { deadlineMs: 10, pauseMs: 5, pauseMsMax: 20 };

randomTest(
  'C3 C5 C15 C23 the remote tier equals the model, whatever fails',
  6000,
  (prng, steps) => {
    const twin = new Twin(prng, times);
    for (let i = 0; i < steps; i++) twin.step();
    twin.end();
  },
);

randomTest('C3 C15 C23 the same with little room here', 1500, (prng, steps) => {
  const twin = new Twin(prng, { ...times, limitBytes: 780_000 });
  for (let i = 0; i < steps; i++) twin.step();
  twin.end();
});
