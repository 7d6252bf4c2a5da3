/**
 * frontswap: the hook between the swap core and backends that keep swapped-out pages in RAM. One bit per slot says
 * where the slot's page is:
 *
 *   bit clear   on the area's device, or nowhere: no backend is asked
 *   bit set     in exactly one backend; the device's block is stale (unless the page was written through)
 *
 *   swap core ──store──▶ bit set? invalidate on all ─▶ newest backend ─refuses─▶ next ... all refused: false
 *             ──load───▶ bit clear? absent          ─▶ newest backend ─absent──▶ next
 *             ──free───▶ bit clear? nothing to do   ─▶ invalidate on all backends
 *
 * Invariants
 * - Replace or drop: a store invalidates the old page on every backend before it offers the new one, so the old page
 *   is not found again, whatever the backends return or throw. No other code does this.
 * - A bit is set only for a page that a backend accepted. If no backend can load such a page, load() returns an error
 *   instead of the device's stale block. Only a page that was written through (a second bit) may be read from the
 *   device.
 * - Pages stored = succStores - dupInvalidates - invalidates - exclusiveLoads - loadsToDevice - writtenBack
 *   - areaInvalidates.
 *
 * Cost: one comparison without a backend; otherwise one bit test plus the backend. No allocation in store, load and
 * invalidatePage. Memory: 1/8 byte per slot (1 MiB for 32 GiB of swap), twice that with writethrough.
 * Left out: unregistering a backend, which would lose its pages (as in Linux); locks (one thread).
 *
 * Sources: Linux mm/frontswap.c (2.6.35 patch set, 5.10), Documentation/vm/frontswap.txt.
 */
import { checkInteger, checkPage } from '../base/arguments.ts';
import { assert } from '../base/assert.ts';
import { type CounterSpec, Counters } from '../base/counters.ts';
import { SwapError } from '../base/errors.ts';
import { SWAP_AREAS_MAX } from '../base/units.ts';
import { AreaColdPages } from './cold-pages.ts';
import { type ColdPages, type FrontswapBackend, LoadResult } from './ops.ts';

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
  loads: pagesOf('loads with the bit set: all should hit'),
  loadHits: pagesOf('loads that a backend answered with the page'),
  loadsElsewhere: pagesOf('loads with the bit clear: the page is on the device'),
  loadsToDevice: pagesOf('loads of written-through pages that the backend had dropped or damaged'),
  loadsLost: never('loads of accepted pages that no backend has any more'),
  loadsDamaged: never('loads of accepted pages that fail their checksum'),
  exclusiveLoads: pagesOf('hits after which frontswap dropped its copy'),
  succStores: pagesOf('stores that a backend accepted, written through or not'),
  failedStores: pagesOf('stores refused, for any reason'),
  failedAreaOff: pagesOf('of these: the area is off'),
  invalidates: pagesOf('dropped because their slot was freed'),
  dupInvalidates: pagesOf('dropped because their slot was stored again'),
  areaInvalidates: pagesOf('dropped because their area was switched off'),
  writtenBack: pagesOf('dropped because writeback wrote them to the device'),
  shrunkPages: pagesOf('read back into memory by shrink()'),
};

/** The frontswap front end: offers swapped-out pages to its backends, and tracks which slots they store. */
export class Frontswap {
  readonly counters: Counters<FrontswapCounter> = new Counters<FrontswapCounter>(specs);
  readonly #at: Readonly<Record<FrontswapCounter, number>> = this.counters.index;
  readonly #count: Float64Array = this.counters.values;
  /**
   * True if load() drops the copy of a page that it returns: the caller then owns the only copy and must treat it as
   * dirty.
   */
  exclusiveGets = false;
  /**
   * Set by the swap core. Reads up to `pages` (1 or more) pages of an area back into memory and frees their slots, as
   * long as memory is free; returns how many.
   */
  onShrink: ((type: number, pages: number) => number) | null = null;
  /** Newest first. */
  readonly #backends: FrontswapBackend[] = [];
  /** By area, null = off: bit offset % 32 of word offset / 32 is set if a backend has the slot's page. */
  readonly #bits: (Int32Array | null)[] = new Array<Int32Array | null>(SWAP_AREAS_MAX).fill(null);
  /** Like #bits: the page was written through, so the device also has it. Null until writethrough is first enabled. */
  readonly #through: (Int32Array | null)[] = new Array<Int32Array | null>(SWAP_AREAS_MAX).fill(
    null,
  );
  readonly #cold: (AreaColdPages | null)[] = new Array<AreaColdPages | null>(SWAP_AREAS_MAX).fill(
    null,
  );
  readonly #slots: Uint32Array = new Uint32Array(SWAP_AREAS_MAX);
  readonly #pages: Uint32Array = new Uint32Array(SWAP_AREAS_MAX);
  #allPages = 0;
  #writethrough = false;

  #isRegistering = false;

  /** True if a backend is registered. Without one, every store is refused and not counted. */
  get enabled(): boolean {
    return this.#backends.length > 0;
  }

  /**
   * True makes store() return false after a backend took the page: the device also gets it, and the backend may drop
   * it.
   */
  get writethrough(): boolean {
    return this.#writethrough;
  }

  set writethrough(on: boolean) {
    if (on) for (let type = 0; type < SWAP_AREAS_MAX; type++) this.#makeThrough(type);
    this.#writethrough = on;
  }

  /**
   * Adds a backend before the others and calls its init() for every area that is on. A backend cannot be unregistered.
   * @throws SwapError ERR_ARG_CONFLICT: already registered, or called from a backend's init()
   */
  register(backend: FrontswapBackend): void {
    if (this.#backends.includes(backend)) throw conflict(`${backend.name} is already registered`);
    this.#checkNotRegistering();
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
   * swapon: switches area `type` on, empty.
   * @param type 0 .. 31, off until now
   * @param slots 1 .. 2^31 - 1
   * @throws SwapError ERR_ARG_VALUE; ERR_ARG_AREA: already on; ERR_ARG_CONFLICT: called from a backend's init()
   */
  init(type: number, slots: number): void {
    if (this.#bitsOf(type) !== null)
      throw new SwapError('ERR_ARG_AREA', `frontswap: area ${type} is already on`, { type });
    this.#checkNotRegistering();
    checkInteger('slots', slots, 1, 2 ** 31 - 1);
    const bits = new Int32Array(Math.ceil(slots / 32)); // may throw: allocate before any backend is called
    for (const backend of this.#backends) backend.init(type, slots);
    this.#bits[type] = bits;
    this.#cold[type] = new AreaColdPages(type, bits, this.#backends);
    this.#slots[type] = slots;
    if (this.#writethrough) this.#makeThrough(type);
  }

  /**
   * Offers the page at page[at .. at + 4096) to the backends. Returns true if the page is stored and no I/O is needed,
   * false if it must be written to the device. In both cases, the page previously stored under the slot is dropped.
   * @throws SwapError ERR_ARG_VALUE
   */
  store(type: number, offset: number, page: Uint8Array, at: number): boolean {
    if (this.#backends.length === 0) return false;
    const bits = this.#bitsOf(type);
    if (bits === null) return this.#refusedOff();
    this.#checkSlot(type, offset);
    checkPage(page, at);
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
   * Loads the slot's page to page[at .. at + 4096); see LoadResult. A hit is loadedExclusive with exclusiveGets.
   * @throws SwapError ERR_ARG_VALUE
   */
  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const answer = this.peek(type, offset, page, at);
    if (answer !== LoadResult.loaded || !this.exclusiveGets) return answer;
    this.#clear(type, offset);
    this.#invalidate(type, offset);
    this.#count[this.#at.exclusiveLoads]! += 1;
    return LoadResult.loadedExclusive;
  }

  /** Like load(), but never exclusive: for readers that do not take ownership of the page. */
  peek(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    if (this.#backends.length === 0) return LoadResult.absent;
    checkPage(page, at);
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

  /**
   * Called when the slot was freed: every backend drops its page before this returns. If the bit is clear, none is
   * called.
   */
  invalidatePage(type: number, offset: number): void {
    if (this.#backends.length === 0 || this.#bitsOf(type) === null) return;
    this.#checkSlot(type, offset);
    if (!this.#clear(type, offset)) return;
    this.#count[this.#at.invalidates]! += 1;
    this.#invalidate(type, offset);
  }

  /** Reads the tables for slots that will be freed next; see FrontswapBackend.warm. Changes nothing. */
  warm(type: number, offsets: Int32Array, count: number): number {
    const bits = this.#bitsOf(type);
    let sum = 0;
    if (this.#backends.length === 0 || bits === null) return sum;
    for (let i = 0; i < count; i++) sum ^= bits[offsets[i]! >>> 5]!;
    for (let i = 0; i < this.#backends.length; i++)
      sum ^= this.#backends[i]!.warm?.(type, offsets, count) ?? 0;
    return sum;
  }

  /** Writeback has written the slot's page to the device: drops frontswap's copy. */
  completeWriteback(type: number, offset: number): void {
    const isDropped = this.has(type, offset) && this.#clear(type, offset);
    assert(isDropped, 'a page that was written back is stored in frontswap');
    this.#count[this.#at.writtenBack]! += 1;
    this.#invalidate(type, offset);
  }

  /** The ages of the area's pages, for writeback, or null if it has no pages. Valid until invalidateArea(). */
  coldPages(type: number): ColdPages | null {
    return this.#bitsOf(type) === null || this.#pages[type] === 0 ? null : this.#cold[type]!;
  }

  /** swapoff: drops all pages of the area and refuses stores to it until the next init(). */
  invalidateArea(type: number): void {
    if (this.#bitsOf(type) === null) return;
    this.#checkNotRegistering();
    this.#bits[type] = null;
    this.#cold[type] = null;
    this.#through[type] = null;
    this.counters.add('areaInvalidates', this.#pages[type]!);
    this.#allPages -= this.#pages[type]!;
    this.#pages[type] = 0;
    this.#slots[type] = 0;
    for (const backend of this.#backends) backend.invalidateArea(type);
  }

  /** True if a backend has the slot's page. */
  has(type: number, offset: number): boolean {
    const bits = this.#bitsOf(type);
    if (bits === null) return false;
    this.#checkSlot(type, offset);
    return (bits[offset >>> 5]! & (1 << (offset & 31))) !== 0;
  }

  /** Pages that the backends store. */
  currPages(): number {
    return this.#allPages;
  }

  currPagesOf(type: number): number {
    this.#bitsOf(type);
    return this.#pages[type]!;
  }

  /**
   * Partial swapoff: makes the swap core read pages back into memory, each area once, until at most `targetPages` are
   * stored or memory runs short. Returns the number of pages read back.
   * @throws SwapError ERR_ARG_VALUE
   */
  shrink(targetPages: number): number {
    checkInteger('targetPages', targetPages, 0, Number.MAX_SAFE_INTEGER);
    const before = this.#allPages;
    for (let type = 0; type < SWAP_AREAS_MAX && this.#allPages > targetPages; type++) {
      const pages = this.#pages[type]!;
      if (pages > 0) this.onShrink?.(type, Math.min(pages, this.#allPages - targetPages));
    }
    const readBack = Math.max(0, before - this.#allPages);
    this.counters.add('shrunkPages', readBack);
    return readBack;
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
        else assert(((through?.[offset >>> 5] ?? 0) & mask) === 0, 'a through bit implies the bit');
      }
      assert(this.#pages[type] === pages, 'pages of an area = bits set');
      all += pages;
    }
    assert(this.#allPages === all, 'currPages = sum over the areas');
    const n = this.counters.snapshot();
    const removed =
      n.dupInvalidates + n.invalidates + n.exclusiveLoads + n.loadsToDevice + n.writtenBack;
    assert(all === n.succStores - removed - n.areaInvalidates, 'pages = stored - dropped');
    const answered = n.loadHits + n.loadsToDevice + n.loadsLost + n.loadsDamaged;
    assert(n.loads === answered, 'loads = hits + to device + lost + damaged');
  }

  #bitsOf(type: number): Int32Array | null {
    if (type >>> 0 !== type || type >= SWAP_AREAS_MAX)
      checkInteger('area type', type, 0, SWAP_AREAS_MAX - 1);
    return this.#bits[type]!;
  }

  #checkSlot(type: number, offset: number): void {
    if (offset >>> 0 !== offset || offset >= this.#slots[type]!)
      checkInteger(`slot of area ${type}`, offset, 0, this.#slots[type]! - 1);
  }

  #checkNotRegistering(): void {
    if (this.#isRegistering) throw conflict('a backend is being registered; call this afterwards');
  }

  /** Clears the slot's bits and subtracts its page from the count. Returns false if the bit was clear. */
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

  /**
   * No backend could load an accepted page. Returns absent if it was written through, otherwise corrupt at every load.
   */
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

const conflict = (why: string): SwapError => new SwapError('ERR_ARG_CONFLICT', `frontswap: ${why}`);
