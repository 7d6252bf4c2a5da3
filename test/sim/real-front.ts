/**
 * The real frontswap with real backends, all with less room than the walk wants: page stores, tmem, or tmem behind stores.
 *
 *   swap core ─▶ Frontswap ─▶ [ admission ─▶ damage on demand ─▶ storeBackend ] ─no─▶ TmemFrontswap ─no─▶ the disk
 */
import assert from 'node:assert/strict';
import { Budget } from '../../src/arena/budget.ts';
import type { Prng } from '../../src/base/prng.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { admission } from '../../src/frontswap/admission.ts';
import { type StoreBackend, storeBackend } from '../../src/frontswap/backends/store-backend.ts';
import { TmemFrontswap } from '../../src/frontswap/backends/tmem-frontswap.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { type FrontswapBackend, LoadResult } from '../../src/frontswap/ops.ts';
import { loadNativeZstd } from '../../src/os/native-codec.ts';
import { CounterAt } from '../../src/store/results.ts';
import { Store } from '../../src/store/store.ts';
import type { WritebackOptions } from '../../src/swap/writeback.ts';
import { Tmem } from '../../src/tmem/tmem.ts';
import { tmemStore } from '../../src/tmem/tmem-store.ts';
import { FakeReturns } from '../model/fake-returns.ts';
import type { AnyWorld, Trouble } from './walk.ts';

/** The backend, but now and then it finds a page damaged: a checksum that does not fit. */
function damaging(next: FrontswapBackend, trouble: Trouble, prng: Prng): FrontswapBackend {
  return {
    name: next.name,
    init: (type, slots) => next.init(type, slots),
    store: (type, offset, page, at) => next.store(type, offset, page, at),
    load: (type, offset, page, at) =>
      trouble.faults && prng.oneIn(10) ? LoadResult.corrupt : next.load(type, offset, page, at),
    invalidatePage: (type, offset) => next.invalidatePage(type, offset),
    invalidateArea: (type) => next.invalidateArea(type),
  };
}

/** Which backends are registered. */
export type BackendKind = 'stores' | 'tmem' | 'stores before tmem';

export class RealFront {
  readonly front: Frontswap = new Frontswap();
  readonly stores: StoreBackend;
  readonly tmem: Tmem;
  readonly pressure: WritebackOptions;
  readonly #tmemPages: Store;
  readonly #prng: Prng;
  readonly #trouble: Trouble;
  #wasThrough = false;

  constructor(prng: Prng, trouble: Trouble, kind: BackendKind) {
    const returns = new FakeReturns().factory;
    this.#prng = prng;
    this.#trouble = trouble;
    const limitBytes = 100_000 + prng.below(200_000);
    this.stores = storeBackend(new Budget(limitBytes), lz4, returns, loadNativeZstd().factory);
    const budget = new Budget(300_000);
    const slots = kind === 'tmem' ? 20 + prng.below(100) : 16;
    this.#tmemPages = new Store({ slots, budget, codec: lz4, release: returns });
    this.tmem = new Tmem({ store: tmemStore(this.#tmemPages), pages: slots + 4 });
    const overTmem = new TmemFrontswap(this.tmem, this.tmem.addClient());
    const usedBytes = (): number => this.stores.usedBytes();
    const gate = admission(damaging(this.stores, trouble, prng), usedBytes, limitBytes, 80);
    if (kind === 'tmem') this.front.register(damaging(overTmem, trouble, prng));
    if (kind === 'stores before tmem') this.front.register(overTmem);
    if (kind !== 'tmem') this.front.register(gate);
    this.pressure = {
      usedBytes,
      limitBytes,
      startPercent: 90,
      acceptPercent: 80,
      isRequested: () => gate.isWaiting,
    };
  }

  /** Housekeeping when it pleases, and a change of mind about who keeps a copy. */
  tend(): void {
    const { front, stores, tmem } = this;
    const prng = this.#prng;
    const what = prng.below(400);
    if (what < 20) stores.maintain(1 + prng.below(100));
    else if (what < 30) tmem.maintain();
    else if (what === 30) while (stores.compactIdle());
    else if (what < 40) stores.recompressIdle(1 + prng.below(8), prng.below(3));
    else if (what === 41) front.exclusiveGets = !front.exclusiveGets;
    else if (what === 42) front.writethrough = !front.writethrough && prng.oneIn(3);
    if (front.writethrough) this.#wasThrough = true;
  }

  /** C11: what was asked to come home is home, unless memory is short or a page is damaged. */
  shrink({ mm }: AnyWorld, areSynchronous: boolean): void {
    const { front } = this;
    const before = front.currPages();
    const target = Math.max(0, before - this.#prng.below(6));
    assert.equal(front.shrink(target), before - front.currPages(), 'shrink says what it did');
    if (this.#trouble.faults) return;
    assert.ok(front.currPages() >= target, 'shrink stops at its target');
    if (areSynchronous && mm.free.length > 0)
      assert.equal(front.currPages(), target, 'shrink reaches its target');
  }

  /** Three books of the same pages, after every step. */
  check({ swap }: AnyWorld): void {
    const { front, stores, tmem } = this;
    const c = swap.counters.snapshot();
    const f = front.counters.snapshot();
    assert.equal(
      stores.counter(CounterAt.storedPages) + tmem.index.counters.get('pages'),
      front.currPages(),
      'exactly one backend has each page whose bit is set, and none has another',
    );
    assert.equal(
      f.succStores + f.failedStores,
      c.frontswapOut + c.writeBios + c.busyOut,
      'every page but zeros was offered first',
    );
    if (!this.#wasThrough) assert.equal(f.succStores, c.frontswapOut, 'taken is taken');
    assert.equal(
      f.loadHits,
      c.frontswapIn + c.writebackBios,
      'what frontswap gave came in, or went out',
    );
    assert.equal(f.writtenBack, c.writebackPages, 'what the disk has is given up, once');
    assert.equal(f.loadsLost, 0, 'nothing that was accepted is lost');
    assert.equal(f.loadsDamaged, c.corruptLoads + c.writebackDamaged, 'damage is told');
    assert.equal(f.failedAreaOff, 0, 'no store for an area that is off');
    assert.equal(f.areaInvalidates, 0, 'a swapoff leaves nothing to frontswap');
  }

  verify(): void {
    this.front.verify();
    this.stores.verify();
    this.tmem.verify();
    this.#tmemPages.verify();
    assert.equal(this.#tmemPages.counter(CounterAt.corruptions), 0);
    assert.equal(this.stores.counter(CounterAt.corruptions), 0);
  }

  /** The walk is over: no backend holds anything. */
  atEnd(): void {
    assert.equal(this.front.currPages(), 0, 'no page remains after its slot is freed');
    assert.equal(this.stores.counter(CounterAt.storedBytes), 0, 'no byte outlives its page');
    assert.equal(this.#tmemPages.counter(CounterAt.storedPages), 0);
  }
}
