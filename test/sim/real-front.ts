/**
 * The real frontswap with real backends, each with less space than the walk needs: page stores, tmem, or tmem behind stores.
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
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import type { AnyWorld, Problem } from './walk.ts';

/** The backend, with random corrupt loads while faults are active. */
function damaging(next: FrontswapBackend, problem: Problem, prng: Prng): FrontswapBackend {
  return {
    name: next.name,
    init: (type, slots) => next.init(type, slots),
    store: (type, offset, page, at) => next.store(type, offset, page, at),
    load: (type, offset, page, at) =>
      problem.faults && prng.oneIn(10) ? LoadResult.corrupt : next.load(type, offset, page, at),
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
  readonly #problem: Problem;
  #wasThrough = false;

  constructor(prng: Prng, problem: Problem, kind: BackendKind) {
    const returns = new FakeReturns().factory;
    this.#prng = prng;
    this.#problem = problem;
    const limitBytes = 100_000 + prng.below(200_000);
    this.stores = storeBackend(new Budget(limitBytes), lz4, returns, loadNativeZstd().factory);
    const budget = new Budget(300_000);
    const slots = kind === 'tmem' ? 20 + prng.below(100) : 16;
    this.#tmemPages = new Store({ slots, budget, codec: lz4, release: returns });
    this.tmem = new Tmem({ store: tmemStore(this.#tmemPages), pages: slots + 4 });
    const overTmem = new TmemFrontswap(this.tmem, this.tmem.addClient());
    const usedBytes = (): number => this.stores.usedBytes();
    const gate = admission(damaging(this.stores, problem, prng), usedBytes, limitBytes, 80);
    if (kind === 'tmem') this.front.register(damaging(overTmem, problem, prng));
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

  /** Random maintenance, and random changes of exclusiveGets and writethrough. */
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

  /** C11: shrink reaches its target, unless memory is short or a page is damaged. */
  shrink({ mm }: AnyWorld, areSynchronous: boolean): void {
    const { front } = this;
    const before = front.currPages();
    const target = Math.max(0, before - this.#prng.below(6));
    assert.equal(
      front.shrink(target),
      before - front.currPages(),
      'shrink returns the number of pages read back',
    );
    if (this.#problem.faults) return;
    assert.ok(front.currPages() >= target, 'shrink stops at its target');
    if (areSynchronous && mm.free.length > 0)
      assert.equal(front.currPages(), target, 'shrink reaches its target');
  }

  /** The counters of swap core, frontswap and backends agree, after every step. */
  check({ swap }: AnyWorld): void {
    const { front, stores, tmem } = this;
    const c = swap.counters.snapshot();
    const f = front.counters.snapshot();
    assert.equal(
      stores.counter(CounterAt.storedPages) + tmem.index.counters.get('pages'),
      front.currPages(),
      'pages in the backends = bits set',
    );
    assert.equal(
      f.succStores + f.failedStores,
      c.frontswapOut + c.writeBios + c.busyOut,
      'every page that is not zero is offered to frontswap',
    );
    if (!this.#wasThrough) assert.equal(f.succStores, c.frontswapOut, 'succStores = frontswapOut');
    assert.equal(
      f.loadHits,
      c.frontswapIn + c.writebackBios,
      'loadHits = frontswapIn + writebackBios',
    );
    assert.equal(f.writtenBack, c.writebackPages, 'writtenBack = writebackPages');
    assert.equal(f.loadsLost, 0, 'no accepted page is lost');
    assert.equal(
      f.loadsDamaged,
      c.corruptLoads + c.writebackDamaged,
      'every damaged load is counted by the swap core',
    );
    assert.equal(f.failedAreaOff, 0, 'no store to an area that is off');
    assert.equal(f.areaInvalidates, 0, 'swapoff frees every page before invalidateArea');
  }

  verify(): void {
    this.front.verify();
    this.stores.verify();
    this.tmem.verify();
    this.#tmemPages.verify();
    assert.equal(this.#tmemPages.counter(CounterAt.corruptions), 0);
    assert.equal(this.stores.counter(CounterAt.corruptions), 0);
  }

  /** After the walk: no backend has a page. */
  atEnd(): void {
    assert.equal(this.front.currPages(), 0, 'no page remains after its slot is freed');
    assert.equal(
      this.stores.counter(CounterAt.storedBytes),
      0,
      'no byte remains after its page is freed',
    );
    assert.equal(this.#tmemPages.counter(CounterAt.storedPages), 0);
  }
}
