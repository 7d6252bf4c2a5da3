/**
 * The remote tier against a naive map, in a random walk: stores, loads, frees, areas switched off and on, background steps,
 * and a server that is full, slow, down or restarted empty. After each step every page is where the model has it, and every
 * counter matches the commands seen on the connection.
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../src/base/prng.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import type { RemoteCounter } from '../../src/remote/counters.ts';
import type { Fault } from '../support/fakes/fake-peer.ts';
import { madePage as page } from '../support/fixtures/pages.ts';
import { type Rig, type RigOptions, rig } from '../support/fixtures/remote-rig.ts';
import { randomTest } from '../support/fixtures/replay.ts';

const SLOTS = 60;
const into = new Uint8Array(4096);

interface StoredPage {
  readonly seed: number;
  readonly kind: 'text' | 'records' | 'zero' | 'random';
  isRemote: boolean;
  /** The server has lost it. */
  isLost: boolean;
  /** Position in the order in which pages are moved. */
  turn: number;
}

class Twin {
  readonly r: Rig;
  readonly #prng: Prng;
  readonly #stored: Map<number, StoredPage> = new Map();
  readonly #expected: Map<RemoteCounter, number> = new Map();
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
    const fault = prng.oneIn(4) ? this.#injectFault() : 'none';
    if (what < 35) this.#store(slot);
    else if (what < 60) this.#load(slot, fault);
    else if (what < 75) this.#free(slot);
    else if (what < 92) this.#remotify(fault);
    else if (what < 96) this.r.backend.maintain();
    else if (what < 97) this.#lose();
    else if (what < 98) this.#restartArea();
    this.#clearFault();
    this.#check();
  }

  #injectFault(): Fault {
    const { peer } = this.r;
    const faults: Fault[] = ['gone', 'cut', 'late', 'stuck', 'drip', 'garbage', 'broken', 'none'];
    peer.fault = faults[this.#prng.below(faults.length)]!;
    peer.keepBytes = this.#prng.below(300);
    peer.redis.isFull = this.#prng.oneIn(4);
    peer.isDown = this.#prng.oneIn(8);
    return peer.isDown ? 'gone' : peer.fault;
  }

  /** Clears the fault and lets the pause pass. Commands in flight may arrive now. */
  #clearFault(): void {
    const { peer } = this.r;
    if (peer.fault !== 'none' || peer.isDown) peer.clock.ms += 100;
    peer.fault = 'none';
    peer.isDown = false;
    peer.redis.isFull = false;
    if (this.#prng.oneIn(10)) peer.release();
  }

  #add(name: RemoteCounter, n = 1): void {
    this.#expected.set(name, (this.#expected.get(name) ?? 0) + n);
  }

  #drop(slot: number): void {
    if (this.#stored.get(slot)?.isRemote) this.#add('remotePagesFreed');
    this.#stored.delete(slot);
  }

  #store(slot: number): void {
    const kind = (['text', 'text', 'records', 'zero', 'random'] as const)[this.#prng.below(5)]!;
    const seed = ++this.#seed;
    const isStored = this.r.front.store(0, slot, page(kind, seed), 0);
    this.#drop(slot);
    if (isStored)
      this.#stored.set(slot, { seed, kind, isRemote: false, isLost: false, turn: ++this.#turn });
  }

  #free(slot: number): void {
    this.r.front.invalidatePage(0, slot);
    this.#drop(slot);
  }

  #load(slot: number, fault: Fault): void {
    const stored = this.#stored.get(slot);
    const refused = this.r.backend.counters.get('repatriationsRefused');
    into.fill(0xee);
    const answer = this.r.front.load(0, slot, into, 0);
    if (stored === undefined) {
      assert.equal(answer, LoadResult.absent);
      return;
    }
    if (answer === LoadResult.loaded) {
      assert.ok(!stored.isLost, 'a lost page is not loaded');
      assert.deepEqual(into, page(stored.kind, stored.seed));
    } else {
      assert.equal(answer, LoadResult.corrupt);
      assert.ok(
        into.every((byte) => byte === 0xee),
        'the target is unchanged',
      );
      assert.ok(
        stored.isRemote && (stored.isLost || fault !== 'none'),
        'a load fails only during a fault',
      );
      this.#add('remoteLost');
    }
    if (!stored.isRemote || answer !== LoadResult.loaded) return;
    this.#add('remote_pers_pages_succ_get');
    if (this.r.backend.counters.get('repatriationsRefused') > refused) {
      this.#add('repatriationsRefused');
      return;
    }
    this.#add('pagesRepatriated');
    stored.isRemote = false;
    stored.turn = ++this.#turn;
  }

  #remotify(fault: Fault): void {
    const movable = [...this.#stored.values()]
      .filter(({ kind, isRemote }) => !isRemote && kind !== 'zero' && kind !== 'random')
      .sort((a, b) => a.turn - b.turn);
    const most = 1 + this.#prng.below(SLOTS);
    const { isFull } = this.r.peer.redis;
    const moved = this.r.backend.remotify(most);
    if ((fault === 'none' || fault === 'drip') && !isFull)
      assert.equal(moved, Math.min(most, movable.length), 'without a fault all movable pages move');
    for (const stored of movable.slice(0, moved)) stored.isRemote = true;
  }

  #lose(): void {
    this.r.peer.redis.lose();
    this.r.peer.inFlight.length = 0;
    for (const stored of this.#stored.values()) if (stored.isRemote) stored.isLost = true;
  }

  #restartArea(): void {
    this.r.front.invalidateArea(0);
    for (const slot of [...this.#stored.keys()]) this.#drop(slot);
    this.r.front.init(0, 3000);
  }

  #check(): void {
    const { backend, peer, local } = this.r;
    backend.verify();
    for (const [slot, { isRemote }] of this.#stored)
      assert.equal(local.formatOf(0, slot) === 0, isRemote, `location of slot ${slot}`);
    assert.equal(this.r.front.currPages(), this.#stored.size);
    const count = (name: RemoteCounter): number => backend.counters.get(name);
    const sent = peer.sent.get('HSET') ?? 0;
    const moved = count('pers_pages_remoted');
    assert.equal(
      moved + count('pers_pages_remote_failed'),
      sent,
      'each put sent is acknowledged or failed',
    );
    for (const name of [
      'remoteLost',
      'remote_pers_pages_succ_get',
      'pagesRepatriated',
      'repatriationsRefused',
      'remotePagesFreed',
    ] as const)
      assert.equal(count(name), this.#expected.get(name) ?? 0, name);
    const remote = [...this.#stored.values()].filter(({ isRemote }) => isRemote).length;
    assert.equal(backend.remotePages, remote);
    assert.equal(count('remoteDamaged'), 0);
    assert.equal(count('remote_page_flushes_failed'), 0);
  }

  /** At the end every page that is not lost can be loaded, and the server is left empty. */
  end(): void {
    const { peer, front, backend } = this.r;
    peer.release();
    peer.clock.ms += 1000;
    for (const [slot, stored] of this.#stored) {
      if (stored.isLost) continue;
      assert.equal(front.load(0, slot, into, 0), LoadResult.loaded, `slot ${slot}`);
      assert.deepEqual(into, page(stored.kind, stored.seed));
    }
    front.invalidateArea(0);
    while (backend.maintain());
    front.verify();
    backend.verify();
  }
}

const times = { deadlineMs: 10, pauseMs: 5, pauseMsMax: 20 };

randomTest(
  'C3 C5 C15 C23 the remote tier matches the model under every fault',
  6000,
  (prng, steps) => {
    const twin = new Twin(prng, times);
    for (let i = 0; i < steps; i++) twin.step();
    twin.end();
  },
);

randomTest(
  'C3 C15 C23 the remote tier with a small local tier matches the model under every fault',
  1500,
  (prng, steps) => {
    const twin = new Twin(prng, { ...times, limitBytes: 780_000 });
    for (let i = 0; i < steps; i++) twin.step();
    twin.end();
  },
);
