/**
 * frontswap: the hook between a swap core and whoever keeps pages in RAM. Per swap area it holds one bit a slot, and the
 * bit says whose the slot's page is:
 *
 *   bit clear   the page, if there is one, is on the area's device: no backend is asked about it
 *   bit set     exactly one backend has it; what lies on the device is stale (unless written through)
 *
 *   swap core ──store──▶ bit set? invalidate on all ─▶ newest backend ─no─▶ next ─no─▶ ... refused: write a bio
 *             ──load───▶ bit clear? absent           ─▶ newest backend ─no─▶ next
 *             ──free───▶ bit clear? nothing to do    ─▶ all backends; the page is gone when this returns
 *
 * Invariants
 * - Replace or drop: the old page is invalidated on every backend before a store is tried, so whatever a store answers or
 *   throws, the old page is not found again. This is the one place where that is done.
 * - A bit is set only for a page that a backend accepted. A page that a backend cannot bring back is an error, never the
 *   device's stale block: only a page that was written through (a second bit, kept while that mode was ever on) may
 *   fall back to the device.
 * - Pages held = succStores - dupInvalidates - invalidates - exclusiveLoads - loadsToDevice - writtenBack
 *   - areaInvalidates.
 *
 * Cost: a test of one number without a backend; else one bit test, and the backend's work. No garbage. An area takes
 * 1/8 byte a slot (1 MiB for 32 GiB of swap), twice that with writethrough.
 * Left out: unregistering a backend (as in Linux: what it holds would be lost), locks (one thread).
 *
 * Sources: Linux mm/frontswap.c (2.6.35 patch set, 5.10), Documentation/vm/frontswap.txt.
 */
import { assert } from '../base/assert.ts';
import { type CounterSpec, Counters } from '../base/counters.ts';
import { PAGE_BYTES, SWAP_AREAS_MAX } from '../base/units.ts';
import { type FrontswapBackend, LoadResult } from './ops.ts';

const pagesOf = (help: string): CounterSpec => ({ unit: 'pages', mustStayZero: false, help });
const never = (help: string): CounterSpec => ({ unit: 'pages', mustStayZero: true, help });

export type FrontswapCounter =
  | 'loads'
  | 'loadHits'
  | 'loadsElsewhere'
  | 'loadsToDevice'
  | 'loadsLost'
  | 'loadsDamaged'
  | 'exclusiveLoads'
  | 'succStores'
  | 'failedStores'
  | 'failedAreaOff'
  | 'invalidates'
  | 'dupInvalidates'
  | 'areaInvalidates'
  | 'writtenBack'
  | 'shrunkPages';

const specs: Readonly<Record<FrontswapCounter, CounterSpec>> = {
  loads: pagesOf('loads of pages whose bit is set: all should hit'),
  loadHits: pagesOf('loads that a backend answered with the page'),
  loadsElsewhere: pagesOf('loads of pages whose bit is clear: no backend is asked'),
  loadsToDevice: pagesOf('loads of written-through pages that backends had dropped or damaged'),
  loadsLost: never('loads of accepted pages that no backend has any more'),
  loadsDamaged: never('loads of accepted pages whose bytes fail their checksum'),
  exclusiveLoads: pagesOf('hits after which the page was given up here'),
  succStores: pagesOf('stores that a backend accepted, written through or not'),
  failedStores: pagesOf('stores refused, for any reason'),
  failedAreaOff: pagesOf('of these: the area is not switched on'),
  invalidates: pagesOf('pages given up one by one, because their slot was freed'),
  dupInvalidates: pagesOf('pages given up because another is stored under their slot'),
  areaInvalidates: pagesOf('pages given up with their area'),
  writtenBack: pagesOf('pages given up because the device has them now'),
  shrunkPages: pagesOf('pages that shrink() had brought home'),
};

export class Frontswap {
  readonly counters: Counters<FrontswapCounter> = new Counters<FrontswapCounter>(specs);
  readonly #at: Readonly<Record<FrontswapCounter, number>> = this.counters.index;
  readonly #count: Float64Array = this.counters.values;
  /** A load that hits gives the page up here: the caller owns the only copy and must treat it as dirty. */
  exclusiveGets = false;
  /**
   * Set by the swap core: brings up to `pages` (1 or more) pages of an area home and frees their slots, as far as memory
   * lasts; how many it brought.
   */
  onShrink: ((type: number, pages: number) => number) | null = null;
  /** Newest first. */
  readonly #backends: FrontswapBackend[] = [];
  /** By area; null = off. Bit offset % 32 of word offset / 32. */
  readonly #bits: (Int32Array | null)[] = new Array<Int32Array | null>(SWAP_AREAS_MAX).fill(null);
  /** As #bits: the page is on the device as well. Null until writethrough was on. */
  readonly #through: (Int32Array | null)[] = new Array<Int32Array | null>(SWAP_AREAS_MAX).fill(
    null,
  );
  readonly #slots: Uint32Array = new Uint32Array(SWAP_AREAS_MAX);
  readonly #pages: Uint32Array = new Uint32Array(SWAP_AREAS_MAX);
  #allPages = 0;
  #writethrough = false;
  #lastLoadExclusive = false;
  #isRegistering = false;

  /** True when there is any backend. Without one every store is refused, uncounted. */
  get enabled(): boolean {
    return this.#backends.length > 0;
  }

  /** Stores fill a backend and yet answer false, so that the device has the page too and the backend may drop it. */
  get writethrough(): boolean {
    return this.#writethrough;
  }

  set writethrough(on: boolean) {
    if (on) for (let type = 0; type < SWAP_AREAS_MAX; type++) this.#makeThrough(type);
    this.#writethrough = on;
  }

  /** True after a load that hit with exclusiveGets: the page is nowhere but with the caller now. */
  get lastLoadExclusive(): boolean {
    return this.#lastLoadExclusive;
  }

  /** Adds a backend in front of the others, for good. It is told of every area that is on now, in order of number. */
  register(backend: FrontswapBackend): void {
    assert(!this.#backends.includes(backend), 'a backend is registered once');
    assert(!this.#isRegistering, 'backends are registered one after the other');
    this.#isRegistering = true;
    try {
      for (let type = 0; type < SWAP_AREAS_MAX; type++)
        if (this.#bits[type] !== null) backend.init(type, this.#slots[type]!);
    } finally {
      this.#isRegistering = false;
    }
    this.#backends.unshift(backend);
  }

  /**
   * swapon: area `type` has `slots` slots now and holds nothing.
   * @param type 0 .. 31, off until now
   * @param slots 1 .. 2^31 - 1
   */
  init(type: number, slots: number): void {
    assert(this.#bitsOf(type) === null, 'an area is switched on once');
    assert(!this.#isRegistering, 'areas stay as they are while a backend is told of them');
    assert(
      Number.isInteger(slots) && slots > 0 && slots < 2 ** 31,
      'an area has 1 to 2^31 - 1 slots',
    );
    const bits = new Int32Array(Math.ceil(slots / 32)); // before anyone is told: memory may be short
    for (const backend of this.#backends) backend.init(type, slots);
    this.#bits[type] = bits;
    this.#slots[type] = slots;
    if (this.#writethrough) this.#makeThrough(type);
  }

  /**
   * Offers the page at page[at .. at + 4096) of a slot. True: it is kept, the caller does no I/O. False: the caller
   * writes it to the device; what was stored under the slot before is gone either way.
   */
  store(type: number, offset: number, page: Uint8Array, at: number): boolean {
    if (this.#backends.length === 0) return false;
    const bits = this.#bitsOf(type);
    if (bits === null) return this.#refusedOff();
    this.#checkSlot(type, offset);
    assert(at >= 0 && at + PAGE_BYTES <= page.length, 'a source holds its page');
    if (this.#clear(type, offset)) {
      this.#count[this.#at.dupInvalidates]! += 1;
      this.#invalidate(type, offset);
    }
    for (let i = 0; i < this.#backends.length; i++) {
      if (!this.#backends[i]!.store(type, offset, page, at)) continue;
      bits[offset >>> 5]! |= 1 << (offset & 31);
      if (this.#writethrough) this.#through[type]![offset >>> 5]! |= 1 << (offset & 31);
      this.#pages[type]! += 1;
      this.#allPages++;
      this.#count[this.#at.succStores]! += 1;
      return !this.#writethrough;
    }
    this.#count[this.#at.failedStores]! += 1;
    return false;
  }

  /**
   * Brings the slot's page to page[at .. at + 4096). `absent`: it is on the device. `corrupt`: it was accepted and is
   * damaged or lost; an I/O error, for the device's block is stale. See exclusiveGets, lastLoadExclusive.
   */
  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const answer = this.peek(type, offset, page, at);
    if (answer !== LoadResult.loaded || !this.exclusiveGets) return answer;
    this.#clear(type, offset);
    this.#invalidate(type, offset);
    this.#count[this.#at.exclusiveLoads]! += 1;
    this.#lastLoadExclusive = true;
    return answer;
  }

  /** As load(), never exclusive: for a reader that will not own the page, such as one past the swap cache. */
  peek(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    this.#lastLoadExclusive = false;
    if (this.#backends.length === 0) return LoadResult.absent;
    assert(at >= 0 && at + PAGE_BYTES <= page.length, 'a target has room for its page');
    if (!this.has(type, offset)) {
      this.#count[this.#at.loadsElsewhere]! += 1;
      return LoadResult.absent;
    }
    this.#count[this.#at.loads]! += 1;
    for (let i = 0; i < this.#backends.length; i++) {
      const answer = this.#backends[i]!.load(type, offset, page, at);
      if (answer === LoadResult.absent) continue;
      if (answer === LoadResult.corrupt) return this.#notLoaded(type, offset, 'loadsDamaged');
      this.#count[this.#at.loadHits]! += 1;
      return LoadResult.loaded;
    }
    return this.#notLoaded(type, offset, 'loadsLost');
  }

  /** The slot was freed: its page is given up on every backend before this returns. Of a clear bit nothing is heard. */
  invalidatePage(type: number, offset: number): void {
    if (this.#backends.length === 0 || this.#bitsOf(type) === null) return;
    this.#checkSlot(type, offset);
    if (!this.#clear(type, offset)) return;
    this.#count[this.#at.invalidates]! += 1;
    this.#invalidate(type, offset);
  }

  /** Tells backends which slots of an area are about to be freed; see FrontswapBackend.warm. Changes nothing. */
  warm(type: number, offsets: Int32Array, count: number): number {
    const bits = this.#bitsOf(type);
    let sum = 0;
    if (this.#backends.length === 0 || bits === null) return sum;
    for (let i = 0; i < count; i++) sum ^= bits[offsets[i]! >>> 5]!;
    for (let i = 0; i < this.#backends.length; i++)
      sum ^= this.#backends[i]!.warm?.(type, offsets, count) ?? 0;
    return sum;
  }

  /** The page that load() would bring is on the device now: it is given up here, and the bit says so. */
  completeWriteback(type: number, offset: number): void {
    const had = this.has(type, offset) && this.#clear(type, offset);
    assert(had, 'a page that was written back was held');
    this.#count[this.#at.writtenBack]! += 1;
    this.#invalidate(type, offset);
  }

  /**
   * The first slot of [from, to) that holds a page at least `age` steps old (0 .. 3), or -1. The backends say which; where
   * none can, every page is old, in order of slots, and none is `poor`. A backend that cannot, beside one that can,
   * keeps its pages.
   */
  coldest(type: number, from: number, to: number, age: number, poor: boolean): number {
    if (this.#bitsOf(type) === null || this.#pages[type] === 0) return -1;
    assert(from >= 0 && from <= to && to <= this.#slots[type]!, 'slots are inside their area');
    let first = -1;
    let isKnown = false;
    for (let i = 0; i < this.#backends.length; i++) {
      const backend = this.#backends[i]!;
      if (backend.coldest === undefined) continue;
      isKnown = true;
      const found = backend.coldest(type, from, first === -1 ? to : first, age, poor);
      if (found !== -1) first = found;
    }
    if (isKnown || poor) return first;
    const bits = this.#bits[type]!;
    for (let offset = from; offset < to; offset++) {
      const word = bits[offset >>> 5]! >>> (offset & 31);
      if ((word & 1) !== 0) return offset;
      if (word === 0) offset |= 31;
    }
    return -1;
  }

  /** The pages of [from, to) are a step older, where a backend knows ages. */
  age(type: number, from: number, to: number): void {
    for (let i = 0; i < this.#backends.length; i++) this.#backends[i]!.age?.(type, from, to);
  }

  /** swapoff: all pages of the area are given up, and stores to it are refused until it is switched on again. */
  invalidateArea(type: number): void {
    if (this.#bitsOf(type) === null) return;
    assert(!this.#isRegistering, 'areas stay as they are while a backend is told of them');
    this.#bits[type] = null;
    this.#through[type] = null;
    this.counters.add('areaInvalidates', this.#pages[type]!);
    this.#allPages -= this.#pages[type]!;
    this.#pages[type] = 0;
    this.#slots[type] = 0;
    for (const backend of this.#backends) backend.invalidateArea(type);
  }

  /** True when a backend has the slot's page. */
  has(type: number, offset: number): boolean {
    const bits = this.#bitsOf(type);
    if (bits === null) return false;
    this.#checkSlot(type, offset);
    return (bits[offset >>> 5]! & (1 << (offset & 31))) !== 0;
  }

  /** Pages that backends hold. */
  currPages(): number {
    return this.#allPages;
  }

  currPagesOf(type: number): number {
    assert(type >>> 0 === type && type < SWAP_AREAS_MAX, 'an area has a number from 0 to 31');
    return this.#pages[type]!;
  }

  /**
   * Partial swapoff: has pages brought home, area after area, each asked once, until at most `targetPages` are held or
   * memory is short everywhere. How many fewer are held afterwards.
   */
  shrink(targetPages: number): number {
    assert(targetPages >= 0, 'a target is a number of pages');
    const before = this.#allPages;
    for (let type = 0; type < SWAP_AREAS_MAX && this.#allPages > targetPages; type++) {
      const held = this.#pages[type]!;
      if (held > 0) this.onShrink?.(type, Math.min(held, this.#allPages - targetPages));
    }
    const brought = Math.max(0, before - this.#allPages);
    this.counters.add('shrunkPages', brought);
    return brought;
  }

  /** Checks every invariant; throws InvariantError. Cost: all bits. */
  verify(): void {
    let all = 0;
    for (let type = 0; type < SWAP_AREAS_MAX; type++) {
      const bits = this.#bits[type]!;
      const through = this.#through[type]!;
      let pages = 0;
      for (let offset = 0; offset < this.#slots[type]!; offset++) {
        const mask = 1 << (offset & 31);
        const isSet = (bits![offset >>> 5]! & mask) !== 0;
        if (isSet) pages++;
        else assert(((through?.[offset >>> 5] ?? 0) & mask) === 0, 'what is on both sides is here');
      }
      assert(this.#pages[type] === pages, 'an area counts its bits');
      all += pages;
    }
    assert(this.#allPages === all, 'the total is the sum of the areas');
    const n = this.counters.snapshot();
    const gone =
      n.dupInvalidates + n.invalidates + n.exclusiveLoads + n.loadsToDevice + n.writtenBack;
    assert(all === n.succStores - gone - n.areaInvalidates, 'pages held are stored less given up');
    const answered = n.loadHits + n.loadsToDevice + n.loadsLost + n.loadsDamaged;
    assert(n.loads === answered, 'every load has one outcome');
  }

  #bitsOf(type: number): Int32Array | null {
    assert(type >>> 0 === type && type < SWAP_AREAS_MAX, 'an area has a number from 0 to 31');
    return this.#bits[type]!;
  }

  #checkSlot(type: number, offset: number): void {
    assert(offset >>> 0 === offset && offset < this.#slots[type]!, 'a slot is inside its area');
  }

  /** Clears the slot's bits, counting the page out; false when there was none. */
  #clear(type: number, offset: number): boolean {
    const bits = this.#bits[type]!;
    const mask = 1 << (offset & 31);
    if ((bits[offset >>> 5]! & mask) === 0) return false;
    bits[offset >>> 5]! &= ~mask;
    const through = this.#through[type]!;
    if (through !== null) through[offset >>> 5]! &= ~mask;
    this.#pages[type]! -= 1;
    this.#allPages--;
    return true;
  }

  #invalidate(type: number, offset: number): void {
    for (let i = 0; i < this.#backends.length; i++) this.#backends[i]!.invalidatePage(type, offset);
  }

  /** A page whose bit is set did not come: the device's copy if there is one, an error, kept as such, if not. */
  #notLoaded(type: number, offset: number, reason: 'loadsLost' | 'loadsDamaged'): LoadResult {
    const through = this.#through[type]?.[offset >>> 5] ?? 0;
    if ((through & (1 << (offset & 31))) === 0) {
      this.#count[this.#at[reason]]! += 1;
      return LoadResult.corrupt;
    }
    this.#clear(type, offset);
    this.#invalidate(type, offset);
    this.#count[this.#at.loadsToDevice]! += 1;
    return LoadResult.absent;
  }

  #refusedOff(): boolean {
    this.#count[this.#at.failedStores]! += 1;
    this.#count[this.#at.failedAreaOff]! += 1;
    return false;
  }

  #makeThrough(type: number): void {
    const bits = this.#bits[type]!;
    if (bits !== null) this.#through[type] ??= new Int32Array(bits.length);
  }
}
