/**
 * A pager over the real swap core, frontswap and page stores, one area without a device, one area on a disk that sometimes
 * fails, and threads that access its regions. check() tests what must hold between them after each step.
 */
import assert from 'node:assert/strict';
import { Budget } from '../../src/arena/budget.ts';
import type { Prng } from '../../src/base/prng.ts';
import { refusingDisk } from '../../src/block/disks/refusing-disk.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { type StoreBackend, storeBackend } from '../../src/frontswap/backends/store-backend.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { type FrontswapBackend, LoadResult } from '../../src/frontswap/ops.ts';
import { RefusalResult } from '../../src/pager/evictor.ts';
import { FRAME_COUNT } from '../../src/pager/loader.ts';
import { RangeResult } from '../../src/pager/ops.ts';
import { Pager } from '../../src/pager/pager.ts';
import { PageState, type Region } from '../../src/pager/region.ts';
import { ResidentSet } from '../../src/pager/resident-set.ts';
import { NO_ENTRY } from '../../src/swap/entry.ts';
import { SwapOffResult, swapOff, swapOn } from '../../src/swap/swapon.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import { headerPage, SimDisk } from '../support/fakes/sim-disk.ts';
import { type Message, makeThread, SimMemory, SimWorld } from './sim-memory.ts';

const SLOTS = 400;

export interface WalkOptions {
  readonly synchronous: boolean;
  /** The system and the disks may fail. */
  readonly hasFailures: boolean;
}

interface Guest {
  readonly memory: SimMemory;
  readonly region: Region;
  /** First page and end, by pin. */
  readonly pins: { from: number; to: number; isWhole: boolean }[];
}

/** The access pattern of a thread. */
interface Pattern {
  guest: Guest | null;
  next: number;
  stride: number;
  left: number;
}

/** Pages that this test adds or removes, which the pager's counters do not cover. */
interface Totals {
  adopted: number;
  endedResident: number;
  endedStored: number;
  discarded: number;
}

export class Walk {
  readonly world: SimWorld = new SimWorld(FRAME_COUNT);
  readonly pager: Pager;
  readonly front: Frontswap = new Frontswap();
  readonly stores: StoreBackend;
  readonly guests: Guest[] = [];
  readonly sets: ResidentSet<Region>[];
  readonly prng: Prng;
  readonly totals: Totals = { adopted: 0, endedResident: 0, endedStored: 0, discarded: 0 };
  readonly #patterns: Pattern[] = [];
  readonly #options: WalkOptions;
  faults = false;
  #disk: SimDisk;
  /** Number of the area on a disk; -1: it is switched off. */
  #area: number;
  #isGoingOff = false;
  #retries = 0;
  #tag = 1;
  #ended = new Map<string, number>();

  constructor(prng: Prng, options: WalkOptions) {
    this.prng = prng;
    this.#options = options;
    this.stores = storeBackend(
      new Budget(150_000 + prng.below(250_000)),
      lz4,
      new FakeReturns().factory,
    );
    this.front.register(this.#damaging(this.stores));
    this.pager = new Pager({
      frames: this.world.frames,
      front: this.front,
      onLost: (region, page) => {
        assert.ok(this.faults, 'a page is lost only after a failure');
        this.guests.find((guest) => guest.region === region)!.memory.lost[page] = 1;
      },
    });
    this.pager.evictor.onRefusal = () => this.#onRefusal();
    swapOn(this.pager.swap, refusingDisk(SLOTS * 4096), headerPage(SLOTS), { priority: 10 });
    this.#disk = this.#makeDisk();
    this.#area = swapOn(this.pager.swap, this.#disk, headerPage(SLOTS), { priority: 10 });
    this.sets = [new ResidentSet(32 + prng.below(40)), new ResidentSet(40 + prng.below(60))];
    for (let i = 0; i < 5; i++) {
      this.world.threads.push(makeThread());
      this.#patterns.push({ guest: null, next: 0, stride: 1, left: 0 });
    }
    this.world.failures = {
      isTakeBusy: () => this.faults && prng.oneIn(20),
      isInstallBusy: () => this.faults && prng.oneIn(40),
    };
    this.world.between = () => {
      for (let n = prng.below(4); n > 0; n--) this.runThread(prng.below(5));
    };
    this.world.after = this.world.between;
  }

  count(event: string): void {
    this.#ended.set(event, (this.#ended.get(event) ?? 0) + 1);
  }

  seen(event: string): number {
    return this.#ended.get(event) ?? 0;
  }

  runThread(at: number): void {
    const thread = this.world.threads[at]!;
    if (thread.memory === null && !this.#choose(at)) return;
    this.world.step(thread);
  }

  /** Reads all messages and serves them in any order, up to the last `left`. */
  serve(left = 0): void {
    const { unread, batch } = this.world;
    batch.push(...unread.splice(0));
    while (batch.length > left) this.serveOne();
  }

  serveOne(): void {
    const { batch } = this.world;
    const [message] = batch.splice(this.prng.below(batch.length), 1);
    if (message !== undefined) this.#fault(message);
  }

  #fault({ memory, page, touch }: Message): void {
    const guest = this.guests.find((other) => other.memory === memory);
    if (guest === undefined) return;
    this.pager.fault(guest.region, page, touch);
    // A thread that still waits has queued a message again.
    this.world.checkWaiters();
  }

  addRegion(): void {
    const { prng, world } = this;
    const memory = new SimMemory(world, 1 + prng.below(150));
    const region = this.pager.add(memory, this.sets[prng.below(2)]!);
    const guest: Guest = { memory, region, pins: [] };
    const adopts = prng.oneIn(2);
    const adopted: number[] = [];
    for (let page = 0; adopts && page < memory.pages; page++) {
      if (!prng.oneIn(8)) continue;
      memory.present[page] = 1;
      memory.write(page, this.#tag++);
      adopted.push(page);
    }
    this.guests.push(guest);
    for (const page of adopted) {
      world.between();
      if (prng.oneIn(8)) this.serve();
      if (!region.isResident(page)) this.totals.adopted++;
      this.pager.adopt(region, page);
    }
  }

  removeRegion(guest: Guest, swapsInAll: boolean): void {
    const { memory, region } = guest;
    const { totals } = this;
    if (swapsInAll) {
      const answer = this.pager.swapInAll(region);
      if (!this.faults && region.lost === 0) assert.equal(answer, RangeResult.done);
      if (answer === RangeResult.done) this.#checkSwappedIn(guest);
      this.count(answer === RangeResult.done ? 'swapped in' : 'not swapped in');
    }
    totals.endedResident += region.resident;
    totals.endedStored += region.stored;
    this.pager.remove(region);
    this.guests.splice(this.guests.indexOf(guest), 1);
    for (const thread of this.world.threads) {
      if (thread.memory !== memory) continue;
      thread.memory = null;
      thread.isWaiting = false;
    }
    for (const list of [this.world.unread, this.world.batch])
      for (let i = list.length - 1; i >= 0; i--) if (list[i]!.memory === memory) list.splice(i, 1);
    for (const pattern of this.#patterns) if (pattern.guest === guest) pattern.guest = null;
  }

  #checkSwappedIn({ memory, region }: Guest): void {
    assert.equal(region.stored, 0);
    for (let page = 0; page < memory.pages; page++) {
      if (memory.unmapped[page] === 1) continue;
      if (memory.present[page] === 0) {
        assert.ok(
          memory.truth[page] === 0 || memory.loose[page] === 1,
          'every page that was written is resident',
        );
      } else {
        assert.equal(memory.isProtected[page], 0, 'every resident page is writable');
        memory.read(page);
      }
    }
  }

  discard({ memory, region, pins }: Guest, from: number, to: number): void {
    const { totals } = this;
    for (const pin of pins) if (pin.from < to && from < pin.to) pin.isWhole = false;
    let resident = 0;
    let stored = 0;
    for (let page = from; page < to; page++) {
      if (region.isResident(page)) resident++;
      if (region.state[page] === PageState.stored) stored++;
      if (region.state[page] !== PageState.absent) totals.discarded++;
    }
    totals.endedResident += resident;
    totals.endedStored += stored;
    memory.discardFrom = from;
    memory.discardTo = to;
    this.pager.discard(region, from, to);
    memory.discardFrom = 0;
    memory.discardTo = 0;
    for (let page = from; page < to; page++) {
      assert.equal(memory.present[page], 0, 'a discarded page is not resident');
      memory.truth[page] = 0;
      memory.loose[page] = 0;
      memory.lost[page] = 0;
      assert.equal(memory.poisoned[page], 0, 'a discarded page is not poisoned');
    }
  }

  pin(guest: Guest, from: number, to: number): void {
    const { pager } = this;
    const { region } = guest;
    const { pinned } = region.set;
    const answer = pager.pin(region, from, to);
    if (answer === RangeResult.done) guest.pins.push({ from, to, isWhole: true });
    else assert.equal(region.set.pinned, pinned, 'all pages are pinned, or none');
    this.count(answer === RangeResult.done ? 'pin' : 'no pin');
  }

  unpin(guest: Guest): void {
    const [pin] = guest.pins.splice(this.prng.below(guest.pins.length), 1);
    if (pin !== undefined) this.pager.unpin(guest.region, pin.from, pin.to);
  }

  /** One step of a swapoff; after the last one the area is switched on again. */
  swapOffStep(): void {
    const { swap } = this.pager;
    this.#isGoingOff = true;
    const off = swapOff(swap, this.#area, 1 + this.prng.below(64));
    if (off === SwapOffResult.again) return void swap.tick();
    this.#isGoingOff = false;
    if (off !== SwapOffResult.done) {
      assert.ok(
        this.faults || this.seen('unmap') > 0,
        'a swapoff fails only after another failure',
      );
      this.count('swapoff failed');
      return;
    }
    this.count('swapoff');
    this.#disk = this.#makeDisk();
    this.#area = swapOn(swap, this.#disk, headerPage(SLOTS), { priority: 10 });
  }

  get isGoingOff(): boolean {
    return this.#isGoingOff;
  }

  isPinned({ pins }: Guest, page: number): boolean {
    return pins.some(({ from, to }) => page >= from && page < to);
  }

  /** Checks everything that must hold after a step. */
  check(): void {
    const { pager, world, guests } = this;
    this.#retries = 3;
    pager.verify();
    world.checkWaiters();
    let slots = 0;
    let resident = 0;
    let stored = 0;
    for (const { region, memory, pins } of guests) {
      resident += region.resident;
      stored += region.stored;
      for (let page = 0; page < region.pages; page++) {
        const state = region.state[page]!;
        if (state === PageState.clean || state === PageState.stored) slots++;
        if (memory.present[page] === 1) this.#checkPresent(memory, region, page);
        else if (state === PageState.absent && memory.loose[page] === 0)
          assert.ok(memory.truth[page] === 0 || memory.unmapped[page] === 1);
      }
      for (const { from, to, isWhole } of pins)
        for (let page = from; isWhole && page < to; page++)
          if (memory.behind[page] === 0)
            assert.ok(
              memory.present[page] === 1 && memory.isProtected[page] === 0,
              'a pinned page is resident and writable',
            );
    }
    this.#checkCounters(slots, resident, stored);
  }

  /** Pages by which sets may exceed their ceilings so far. An incompressible page counts: it moves the ceiling. */
  get counted(): number {
    return this.pager.counters.get('overBudget') + this.pager.counters.get('pagesIncompressible');
  }

  /**
   * A set exceeds its ceiling only by pages that were counted.
   * @param before the larger of pages and ceiling of each set before the step
   */
  checkLimits(before: readonly number[], countedBefore: number, adopted: number): void {
    const counted = this.counted - countedBefore;
    let grown = adopted - this.totals.adopted;
    for (const [i, set] of this.sets.entries())
      grown += Math.max(0, set.pages - Math.max(set.ceiling, before[i]!));
    assert.ok(grown <= counted, `${grown} pages above the ceilings, ${counted} counted`);
  }

  #checkPresent(memory: SimMemory, region: Region, page: number): void {
    assert.ok(region.isResident(page), 'a present page is resident by its state');
    const isClean = region.state[page] === PageState.clean;
    assert.equal(
      memory.isProtected[page] === 1,
      isClean,
      'a page is protected exactly when it is clean',
    );
  }

  /** The equations of docs/design/memory-tests.md. */
  #checkCounters(slots: number, resident: number, stored: number): void {
    const { pager, world, totals, guests } = this;
    const c = pager.counters.snapshot();
    const s = pager.swap.counters.snapshot();
    let inUse = 0;
    for (const area of pager.swap.areas) inUse += area?.allocator.inUse ?? 0;
    // A page discarded while a swapoff reads it keeps its slot until the bio ends.
    const cached = pager.swap.cache.entryAt(FRAME_COUNT - 1);
    if (cached !== NO_ENTRY && !guests.some(({ region }) => region.entry.includes(cached))) slots++;
    assert.equal(inUse, slots, 'slots in use = stored + clean pages');
    assert.equal(s.slotsTaken - s.slotsFreed, slots, 'slots taken - freed = in use');
    assert.equal(
      c.faults,
      c.zeroFillFaults + c.writeFaults + c.spuriousFaults + c.swapInFaults + c.lostFaults,
      'every fault has one outcome',
    );
    assert.equal(c.pagesBusy, world.busyStops, 'pages in use that were put back');
    const refused = c.pagesPutBack - c.pagesBusy;
    const gone = world.goneIn;
    assert.equal(
      world.taken,
      c.pagesOut + refused + world.goneBack,
      'taken = stored + put back + gone',
    );
    assert.equal(
      resident,
      world.installed -
        refused +
        totals.adopted -
        c.pagesOut -
        c.pagesDropped -
        c.pagesGone -
        totals.endedResident,
      'resident = swapped in - evicted',
    );
    assert.equal(
      stored,
      c.pagesOut + c.pagesDropped - c.pagesIn - c.pagesLost - gone - totals.endedStored,
      'stored = evicted - swapped in',
    );
    assert.equal(c.pagesDiscarded, totals.discarded);
    assert.ok(
      c.pagesIn >= c.swapInFaults + c.pagesPrefetched,
      'pagesIn >= swapInFaults + pagesPrefetched',
    );
  }

  #choose(at: number): boolean {
    const { prng } = this;
    const pattern = this.#patterns[at]!;
    if (pattern.left === 0 || pattern.guest === null) {
      if (this.guests.length === 0) return false;
      pattern.guest = this.guests[prng.below(this.guests.length)]!;
      pattern.next = prng.below(pattern.guest.memory.pages);
      pattern.stride = [1, 1, 1, -1, 2, 0][prng.below(6)]!;
      pattern.left = 1 + prng.below(80);
    }
    const thread = this.world.threads[at]!;
    const { pages } = pattern.guest.memory;
    thread.memory = pattern.guest.memory;
    thread.page = pattern.stride === 0 ? prng.below(pages) : pattern.next;
    thread.isWrite = prng.oneIn(3);
    thread.tag = this.#tag++;
    pattern.next = (pattern.next + pattern.stride + pages) % pages;
    pattern.left--;
    return true;
  }

  #onRefusal(): RefusalResult {
    if (this.prng.oneIn(3)) return RefusalResult.incompressible;
    const isFreed = this.prng.oneIn(2)
      ? this.pager.dropCopies(1 + this.prng.below(4)) > 0
      : this.#retries-- > 0;
    return isFreed ? RefusalResult.retry : RefusalResult.full;
  }

  #makeDisk(): SimDisk {
    const disk = new SimDisk(SLOTS, this.#options.synchronous);
    disk.fails = () => this.faults && this.prng.oneIn(8);
    disk.delay = () => this.prng.below(4);
    return disk;
  }

  #damaging(next: FrontswapBackend): FrontswapBackend {
    return {
      name: next.name,
      init: (type, slots) => next.init(type, slots),
      store: (type, offset, page, at) => next.store(type, offset, page, at),
      load: (type, offset, page, at) =>
        this.faults && this.prng.oneIn(60) ? LoadResult.corrupt : next.load(type, offset, page, at),
      invalidatePage: (type, offset) => next.invalidatePage(type, offset),
      invalidateArea: (type) => next.invalidateArea(type),
    };
  }
}
