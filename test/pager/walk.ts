/**
 * A pager over the real swap core, frontswap and page stores, with an area that no device is behind and one on a disk that
 * fails at times, and threads that touch its regions; and everything that must hold between them after any step.
 */
import assert from 'node:assert/strict';
import { Budget } from '../../src/arena/budget.ts';
import type { Prng } from '../../src/base/prng.ts';
import { refusingDisk } from '../../src/block/disks/refusing-disk.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { type StoreBackend, storeBackend } from '../../src/frontswap/backends/store-backend.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { type FrontswapBackend, LoadResult } from '../../src/frontswap/ops.ts';
import { FRAME_COUNT } from '../../src/pager/loader.ts';
import { RangeResult } from '../../src/pager/ops.ts';
import { Pager } from '../../src/pager/pager.ts';
import { PageState, type Region } from '../../src/pager/region.ts';
import { ResidentSet } from '../../src/pager/resident-set.ts';
import { NO_ENTRY } from '../../src/swap/entry.ts';
import { SwapOffResult, swapOff, swapOn } from '../../src/swap/swapon.ts';
import { FakeReturns } from '../model/fake-returns.ts';
import { headerPage, SimDisk } from '../sim/sim-disk.ts';
import { type Message, makeThread, SimMemory, SimWorld } from './sim-memory.ts';

const SLOTS = 400;

export interface WalkOptions {
  readonly synchronous: boolean;
  /** The system and the disks may fail. */
  readonly hasTrouble: boolean;
}

interface Guest {
  readonly memory: SimMemory;
  readonly region: Region;
  /** First page and end, by pin. */
  readonly pins: { from: number; to: number; isWhole: boolean }[];
}

/** How a thread goes about. */
interface Habit {
  guest: Guest | null;
  next: number;
  stride: number;
  left: number;
}

/** What the counters cannot know: pages that the calls of this test took out of the books, or put in. */
interface Books {
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
  readonly books: Books = { adopted: 0, endedResident: 0, endedStored: 0, discarded: 0 };
  readonly #habits: Habit[] = [];
  readonly #options: WalkOptions;
  faults = false;
  #disk: SimDisk;
  /** Number of the area on a disk; -1: it is off. */
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
        assert.ok(this.faults, 'a page is lost only when something has failed');
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
      this.#habits.push({ guest: null, next: 0, stride: 1, left: 0 });
    }
    this.world.trouble = {
      isBusy: () => this.faults && prng.oneIn(20),
      isShort: () => this.faults && prng.oneIn(40),
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

  /** Reads some messages and serves them, in any order; the last `left` stay for later. */
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
    // Whoever waits still has asked again.
    this.world.checkWaiters();
  }

  addRegion(): void {
    const { prng, world } = this;
    const memory = new SimMemory(world, 1 + prng.below(150));
    const region = this.pager.add(memory, this.sets[prng.below(2)]!);
    const guest: Guest = { memory, region, pins: [] };
    const adopts = prng.oneIn(2);
    const there: number[] = [];
    for (let page = 0; adopts && page < memory.pages; page++) {
      if (!prng.oneIn(8)) continue;
      memory.present[page] = 1;
      memory.write(page, this.#tag++);
      there.push(page);
    }
    this.guests.push(guest);
    for (const page of there) {
      world.between();
      if (prng.oneIn(8)) this.serve();
      if (!region.isResident(page)) this.books.adopted++;
      this.pager.adopt(region, page);
    }
  }

  removeRegion(guest: Guest, goesHome: boolean): void {
    const { memory, region } = guest;
    const { books } = this;
    if (goesHome) {
      const answer = this.pager.swapInAll(region);
      if (!this.faults && region.lost === 0) assert.equal(answer, RangeResult.done);
      if (answer === RangeResult.done) this.#checkHome(guest);
      this.count(answer === RangeResult.done ? 'home' : 'not home');
    }
    books.endedResident += region.resident;
    books.endedStored += region.stored;
    this.pager.remove(region);
    this.guests.splice(this.guests.indexOf(guest), 1);
    for (const thread of this.world.threads) {
      if (thread.memory !== memory) continue;
      thread.memory = null;
      thread.isWaiting = false;
    }
    for (const list of [this.world.unread, this.world.batch])
      for (let i = list.length - 1; i >= 0; i--) if (list[i]!.memory === memory) list.splice(i, 1);
    for (const habit of this.#habits) if (habit.guest === guest) habit.guest = null;
  }

  #checkHome({ memory, region }: Guest): void {
    assert.equal(region.stored, 0);
    for (let page = 0; page < memory.pages; page++) {
      if (memory.unmapped[page] === 1) continue;
      if (memory.present[page] === 0) {
        assert.ok(memory.truth[page] === 0 || memory.loose[page] === 1, 'what is home is there');
      } else {
        assert.equal(memory.isProtected[page], 0, 'what is home can be written');
        memory.read(page);
      }
    }
  }

  discard({ memory, region, pins }: Guest, from: number, to: number): void {
    const { books } = this;
    for (const pin of pins) if (pin.from < to && from < pin.to) pin.isWhole = false;
    let resident = 0;
    let stored = 0;
    for (let page = from; page < to; page++) {
      if (region.isResident(page)) resident++;
      if (region.state[page] === PageState.stored) stored++;
      if (region.state[page] !== PageState.absent) books.discarded++;
    }
    books.endedResident += resident;
    books.endedStored += stored;
    memory.discardFrom = from;
    memory.discardTo = to;
    this.pager.discard(region, from, to);
    memory.discardFrom = 0;
    memory.discardTo = 0;
    for (let page = from; page < to; page++) {
      assert.equal(memory.present[page], 0, 'a discarded page is not there');
      memory.truth[page] = 0;
      memory.loose[page] = 0;
      memory.lost[page] = 0;
      assert.equal(memory.poisoned[page], 0, 'a discarded page can be used again');
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

  /** A step of a swapoff; when it has ended the area comes again. */
  swapOffStep(): void {
    const { swap } = this.pager;
    this.#isGoingOff = true;
    const off = swapOff(swap, this.#area, 1 + this.prng.below(64));
    if (off === SwapOffResult.again) return void swap.tick();
    this.#isGoingOff = false;
    if (off !== SwapOffResult.done) {
      assert.ok(this.faults || this.seen('unmap') > 0, 'a swapoff fails only when something has');
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

  /** After every step. */
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
            assert.ok(memory.present[page] === 1 && memory.isProtected[page] === 0, 'a pin holds');
    }
    this.#checkCounters(slots, resident, stored);
  }

  /** Pages that a set may have above its ceiling, counted since the start: one that is set aside moves the ceiling. */
  get told(): number {
    return this.pager.counters.get('overBudget') + this.pager.counters.get('pagesIncompressible');
  }

  /**
   * A set grows above its ceiling only by pages that were counted.
   * @param before pages of each set before the step, or its ceiling then, whichever is more
   */
  checkLimits(before: readonly number[], told: number, adopted: number): void {
    const counted = this.told - told;
    let grown = adopted - this.books.adopted;
    for (const [i, set] of this.sets.entries())
      grown += Math.max(0, set.pages - Math.max(set.ceiling, before[i]!));
    assert.ok(grown <= counted, `${grown} pages too many, ${counted} told`);
  }

  #checkPresent(memory: SimMemory, region: Region, page: number): void {
    assert.ok(region.isResident(page), 'what is in memory is in the books');
    const isClean = region.state[page] === PageState.clean;
    assert.equal(memory.isProtected[page] === 1, isClean, 'clean pages are protected');
  }

  /** The equations of docs/design/memory-tests.md. */
  #checkCounters(slots: number, resident: number, stored: number): void {
    const { pager, world, books, guests } = this;
    const c = pager.counters.snapshot();
    const s = pager.swap.counters.snapshot();
    let inUse = 0;
    for (const area of pager.swap.areas) inUse += area?.allocator.inUse ?? 0;
    // A page that was given up while a swapoff reads it has its slot until the bio ends.
    const cached = pager.swap.cache.entryAt(FRAME_COUNT - 1);
    if (cached !== NO_ENTRY && !guests.some(({ region }) => region.entry.includes(cached))) slots++;
    assert.equal(inUse, slots, 'slots in use = stored + clean pages');
    assert.equal(s.slotsTaken - s.slotsFreed, slots, 'slots taken - freed = in use');
    assert.equal(
      c.faults,
      c.zeroFillFaults + c.writeFaults + c.spuriousFaults + c.swapInFaults + c.lostFaults,
      'every fault has one outcome',
    );
    const refused = c.pagesPutBack - world.busyStops;
    const gone = world.goneIn;
    assert.equal(
      world.taken,
      c.pagesOut + refused + world.goneBack,
      'what was taken went somewhere',
    );
    assert.equal(
      resident,
      world.installed -
        refused +
        books.adopted -
        c.pagesOut -
        c.pagesDropped -
        c.pagesGone -
        books.endedResident,
      'pages in memory = came - left',
    );
    assert.equal(
      stored,
      c.pagesOut + c.pagesDropped - c.pagesIn - c.pagesLost - gone - books.endedStored,
      'pages in slots only = left - came',
    );
    assert.equal(c.pagesDiscarded, books.discarded);
    assert.ok(c.pagesIn >= c.swapInFaults + c.pagesPrefetched, 'what came ahead came');
  }

  #choose(at: number): boolean {
    const { prng } = this;
    const habit = this.#habits[at]!;
    if (habit.left === 0 || habit.guest === null) {
      if (this.guests.length === 0) return false;
      habit.guest = this.guests[prng.below(this.guests.length)]!;
      habit.next = prng.below(habit.guest.memory.pages);
      habit.stride = [1, 1, 1, -1, 2, 0][prng.below(6)]!;
      habit.left = 1 + prng.below(80);
    }
    const thread = this.world.threads[at]!;
    const { pages } = habit.guest.memory;
    thread.memory = habit.guest.memory;
    thread.page = habit.stride === 0 ? prng.below(pages) : habit.next;
    thread.isWrite = prng.oneIn(3);
    thread.tag = this.#tag++;
    habit.next = (habit.next + habit.stride + pages) % pages;
    habit.left--;
    return true;
  }

  #onRefusal(): boolean {
    if (this.prng.oneIn(3)) {
      this.pager.evictor.isIncompressible = true; // the page is one that does not compress: it is set aside
      return false;
    }
    if (this.prng.oneIn(2)) return this.pager.dropCopies(1 + this.prng.below(4)) > 0;
    return this.#retries-- > 0;
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
