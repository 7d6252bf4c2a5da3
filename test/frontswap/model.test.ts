/**
 * The front end against a naive model of every slot's page and backend. Backends refuse, drop written-through pages,
 * damage and lose pages, and register late; all counters are compared after each step.
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../src/base/prng.ts';
import { Frontswap, type FrontswapCounter } from '../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { StrictBackend } from './strict-backend.ts';

const TYPES = [0, 1, 31];
const SLOTS = 70;

interface Held {
  readonly tag: number;
  readonly through: boolean;
  readonly backend: StrictBackend;
}

class Twin {
  readonly front: Frontswap = new Frontswap();
  readonly backends: StrictBackend[] = [];
  readonly on: Set<number> = new Set();
  readonly held: Map<string, Held> = new Map();
  readonly count: Map<FrontswapCounter, number> = new Map();
  readonly #page = new Uint8Array(4096);
  #tag = 0;
  readonly #prng: Prng;

  constructor(prng: Prng) {
    this.#prng = prng;
  }

  step(): void {
    const type = TYPES[this.#prng.below(TYPES.length)]!;
    const offset = this.#prng.below(SLOTS);
    const what = this.#prng.below(100);
    if (what < 40) this.#store(type, offset);
    else if (what < 65) this.#load(type, offset);
    else if (what < 80) this.#free(type, offset);
    else if (what < 90) this.#spoil();
    else if (what < 94) this.front.exclusiveGets = this.#prng.oneIn(2);
    else if (what < 97) this.front.writethrough = this.#prng.oneIn(2);
    else if (what < 99) this.#toggle(type);
    else if (this.backends.length < 3) this.#register();
    else this.#shrink();
    this.#check();
  }

  #add(name: FrontswapCounter, n = 1): void {
    this.count.set(name, (this.count.get(name) ?? 0) + n);
  }

  #register(): void {
    const backend = new StrictBackend(`backend ${this.backends.length}`);
    this.front.register(backend);
    assert.deepEqual([...backend.areas.keys()].toSorted(), [...this.on].toSorted());
    this.backends.unshift(backend);
  }

  #toggle(type: number): void {
    if (!this.on.has(type)) {
      this.front.init(type, SLOTS);
      this.on.add(type);
      return;
    }
    this.front.invalidateArea(type);
    this.on.delete(type);
    for (const key of this.held.keys())
      if (key.startsWith(`${type}:`)) {
        this.held.delete(key);
        this.#add('areaInvalidates');
      }
  }

  #store(type: number, offset: number): void {
    const tag = ++this.#tag;
    this.#page.fill(tag & 0xff);
    new DataView(this.#page.buffer).setUint32(0, tag);
    const refusing = this.#prng.below(8);
    for (const [i, backend] of this.backends.entries())
      backend.accepts = () => ((refusing >>> i) & 1) === 0;
    const taker = this.backends.find((_, i) => ((refusing >>> i) & 1) === 0);
    const stored = this.front.store(type, offset, this.#page, 0);
    if (this.backends.length === 0) {
      assert.equal(stored, false);
      return;
    }
    const key = StrictBackend.key(type, offset);
    if (this.held.delete(key)) this.#add('dupInvalidates');
    const kept = this.on.has(type) && taker !== undefined;
    assert.equal(stored, kept && !this.front.writethrough);
    this.#add(kept ? 'succStores' : 'failedStores');
    if (!this.on.has(type)) this.#add('failedAreaOff');
    else if (taker !== undefined)
      this.held.set(key, { tag, through: this.front.writethrough, backend: taker });
  }

  #load(type: number, offset: number): void {
    const key = StrictBackend.key(type, offset);
    const held = this.held.get(key);
    const spoilt = this.#spoilt.has(key);
    const damaged = held?.backend.damaged.has(key);
    const answer = this.front.load(type, offset, this.#page, 0);
    if (held === undefined) {
      assert.equal(answer, LoadResult.absent);
      if (this.backends.length > 0) this.#add('loadsElsewhere');
      return;
    }
    this.#add('loads');
    if (answer === LoadResult.loaded || answer === LoadResult.loadedExclusive) {
      assert.ok(!spoilt);
      assert.equal(new DataView(this.#page.buffer).getUint32(0), held.tag);
      assert.equal(this.#page[4095], held.tag & 0xff);
      this.#add('loadHits');
      assert.equal(answer === LoadResult.loadedExclusive, this.front.exclusiveGets);
      if (this.front.exclusiveGets) {
        this.held.delete(key);
        this.#add('exclusiveLoads');
      }
      return;
    }
    assert.ok(spoilt, 'only a spoilt page fails to load');
    assert.equal(answer, held.through ? LoadResult.absent : LoadResult.corrupt);
    if (held.through) {
      this.held.delete(key);
      this.#add('loadsToDevice');
    } else this.#add(damaged ? 'loadsDamaged' : 'loadsLost');
  }

  #free(type: number, offset: number): void {
    this.front.invalidatePage(type, offset);
    if (this.held.delete(StrictBackend.key(type, offset))) this.#add('invalidates');
  }

  /** Slots whose backend dropped or damaged the page. */
  get #spoilt(): Set<string> {
    const spoilt = new Set<string>();
    for (const [key, { backend }] of this.held)
      if (!backend.pages.has(key) || backend.damaged.has(key)) spoilt.add(key);
    return spoilt;
  }

  #spoil(): void {
    const keys = [...this.held.keys()];
    if (keys.length === 0) return;
    const key = keys[this.#prng.below(keys.length)]!;
    const { backend, through } = this.held.get(key)!;
    if (!through && !this.#prng.oneIn(4)) return;
    if (backend.pages.has(key) && this.#prng.oneIn(2)) backend.damaged.add(key);
    else {
      backend.pages.delete(key);
      backend.damaged.delete(key);
    }
  }

  #shrink(): void {
    const target = this.#prng.below(this.held.size + 5);
    const before = this.held.size;
    this.front.onShrink = (type, pages) => {
      const mine = [...this.held.keys()].filter((key) => key.startsWith(`${type}:`));
      assert.ok(pages > 0 && pages <= mine.length);
      for (const key of mine.slice(0, pages)) this.#free(type, Number(key.split(':')[1]));
      return pages;
    };
    const readBack = this.front.shrink(target);
    assert.equal(this.held.size, Math.min(before, target));
    assert.equal(readBack, before - this.held.size);
    this.#add('shrunkPages', readBack);
  }

  #check(): void {
    this.front.verify();
    for (const name of this.front.counters.names)
      assert.equal(this.front.counters.get(name), this.count.get(name) ?? 0, name);
    assert.equal(this.front.currPages(), this.held.size);
    for (const type of TYPES) {
      const mine = [...this.held.keys()].filter((key) => key.startsWith(`${type}:`));
      assert.equal(this.front.currPagesOf(type), mine.length);
      for (let offset = 0; offset < SLOTS; offset++)
        assert.equal(
          this.front.has(type, offset),
          this.held.has(StrictBackend.key(type, offset)),
          `bit of ${type}:${offset}`,
        );
    }
    const spoilt = this.#spoilt;
    for (const [key, { backend }] of this.held)
      if (!spoilt.has(key)) assert.ok(backend.pages.has(key));
    for (const backend of this.backends)
      for (const key of backend.pages.keys())
        assert.equal(this.held.get(key)?.backend, backend, 'each page is in one backend');
  }
}

randomTest(
  'C15 the front end matches the model, with exact counters after each step',
  4000,
  (prng, steps) => {
    let twin = new Twin(prng);
    for (let i = 0; i < steps; i++) {
      if (i % 1000 === 0) twin = new Twin(prng);
      twin.step();
    }
  },
);
