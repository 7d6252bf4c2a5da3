/**
 * A shard: one linear memory with up to 2^19 pages and all their tables. It is the unit of growth, of parallelism (one
 * owner thread) and of crash survival: all state is in the memory's image, at offsets fixed by the slot count.
 *
 * image.ts lays out the memory, rows.ts a slot's row. A same-filled page costs only its row. Any other page is an object in
 * the arena: raw if it does not compress to 3/4 of a page (compressor.ts). recompress() moves a page to a denser format.
 *
 * Invariants
 * - A slot has the page that was put last, or none. A refused put leaves the slot as it was.
 * - If the process is killed, at any instruction, adopt.ts finds each slot as it was before or after the call.
 * - The checksum covers the stored bytes, their format and the slot's number, and is checked before decompressing.
 * - The budget counts every byte that may be resident: staging, 12 KiB of rows for each group of 1024 slots in use,
 *   the arena's pages. It is checked before anything is destroyed. Counters are exact.
 *
 * Cost: put: copy in, compress, copy to the object; get: checksum, decompress, copy out; drop: two table rows. Allocates
 * nothing, except one view if a put's page is part of a larger array.
 */
import { Arena } from '../arena/arena.ts';
import { Budget } from '../arena/budget.ts';
import type { PageRelease } from '../arena/ops.ts';
import { CHUNK_PAGES } from '../arena/page-runs.ts';
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { PageFormat } from '../codec/codec.ts';
import { type Kernels, loadKernels } from '../codec/kernels.ts';
import { createMemory } from '../codec/linear-memory.ts';
import { type Adopted, adoptImage } from './adopt.ts';
import { COMPRESSED_BYTES_MAX, Compressor } from './compressor.ts';
import { countPage, verifyCounters } from './counters.ts';
import {
  COMPRESSED,
  COUNTERS_AT,
  type Image,
  imageOf,
  MAGIC,
  OPEN_BYTES,
  PAGE_IN,
  PAGE_OUT,
  type ShardView,
  SLOT_TABLE,
  VERSION,
} from './image.ts';
import { CounterAt, GetResult, PutResult, RecompressResult } from './results.ts';
import { RowLog } from './row-log.ts';
import {
  AGE_MASK,
  agePages,
  checksumSeed,
  FORMAT_SHIFT,
  findOld,
  formatIn,
  GROUP_RESIDENT,
  GROUP_ROW_BYTES,
  GROUP_SHIFT,
  GROUP_SLOTS,
  LENGTH_MASK,
  ROW,
  skipEmpty,
  TRIED,
  wordCheck,
} from './rows.ts';
import { PRESSURE_CHUNKS, type Pressure, SHARD_SLOTS_MAX, type ShardParts } from './shard-parts.ts';
import { SlotGroups } from './slot-groups.ts';

/** A put that finds no space moves this many objects before it is refused: 50 us, with PRESSURE_CHUNKS. */
const PRESSURE_MOVES = 256;

export class Shard {
  readonly slots: number;
  readonly view: ShardView;
  /** Float64, indexed by CounterAt. In the image. */
  readonly counters: Float64Array;
  /** What the image contained when the shard was created; null if the shard is new. */
  readonly adopted: Adopted | null = null;
  readonly #budget: Budget;
  readonly #kernels: Kernels;
  readonly #compressor: Compressor;
  readonly #arena: Arena;
  readonly #release: PageRelease;
  readonly #pressure: Pressure;
  readonly #log: RowLog;
  readonly #rows: Int32Array;
  readonly #groups: SlotGroups;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #pageIn: Uint8Array;
  readonly #pageOut: Uint8Array;
  #isOpen = false;

  /** @throws SwapError ERR_IO_IMAGE, ERR_IO_NO_ROOM; RangeError: no address space */
  constructor({ slots, codec, dense, budget, release, pressure, number, images }: ShardParts) {
    assert(slots > 0 && slots <= SHARD_SLOTS_MAX, '0 < slots <= SHARD_SLOTS_MAX');
    this.slots = slots;
    const image = imageOf(slots);
    const { groups, groupTable, arena, bytes } = image;
    const mapped = images?.open(number, bytes) ?? null;
    const memory = mapped?.memory ?? createMemory(bytes);
    const buffer = memory.buffer;
    const zspages = { zspages: arena.zspageTable, zspageCount: arena.pages + 1 };
    this.view = { buffer, slots, rows: SLOT_TABLE, ...zspages };
    this.#budget = new Budget(0, budget);
    this.#kernels = loadKernels(memory);
    this.#release = mapped?.release ?? release(memory);
    this.#pressure = pressure;
    this.#rows = new Int32Array(buffer, SLOT_TABLE, groups * GROUP_SLOTS * ROW);
    this.#groups = new SlotGroups(new Int32Array(buffer, groupTable, groups), this.#release);
    this.#words = new Int32Array(buffer, 0, SLOT_TABLE / 4);
    this.#bytes = new Uint8Array(buffer);
    this.#pageIn = new Uint8Array(buffer, PAGE_IN, PAGE_BYTES);
    this.#pageOut = new Uint8Array(buffer, PAGE_OUT, PAGE_BYTES);
    this.counters = new Float64Array(buffer, COUNTERS_AT, CounterAt.count);
    this.#compressor = new Compressor(memory, this.#kernels, codec, dense, this.counters);
    this.#arena = new Arena({
      buffer,
      layout: arena,
      kernels: this.#kernels,
      budget: this.#budget,
      pageRelease: this.#release,
      onMoved: (owner, location) => {
        Atomics.store(this.#rows, owner * ROW, location); // see Arena: a concurrent reader
        this.counters[CounterAt.moves]! += 1;
      },
    });
    this.#log = new RowLog(this.#words, this.#rows, this.#kernels, this.#arena);
    if (this.#words[0] !== 0) this.adopted = this.#adopt(buffer, image);
  }

  #adopt(buffer: ArrayBuffer, image: Image): Adopted {
    const { adopted, bytes } = adoptImage({
      ...{ slots: this.slots, buffer, image, rows: this.#rows, groups: this.#groups.words },
      ...{ counters: this.counters, kernels: this.#kernels, arena: this.#arena, log: this.#log },
      release: this.#release,
    });
    if (!this.#budget.reserve(bytes))
      throw new SwapError(
        'ERR_IO_NO_ROOM',
        `the pages of the image need ${formatSize(bytes)}, more than is left of the limit; raise the limit`,
        { bytes },
      );
    this.#groups.recount();
    this.#arena.compactedPages = this.counters[CounterAt.compactedPages]!;
    this.#isOpen = true;
    this.verify();
    return adopted;
  }

  /** Stores the page at source[at .. at + 4096) under `slot`; see Store.put and putRaw. */
  put(slot: number, source: Uint8Array, at: number, payloadMax: number, isRaw = false): PutResult {
    assert(at >= 0 && at + PAGE_BYTES <= source.length, 'the source has a page at `at`');
    if (!this.#isOpen && !this.#open()) return this.#refused(CounterAt.refusedByLimit);
    if (source.length === PAGE_BYTES && at === 0) this.#pageIn.set(source);
    else this.#pageIn.set(source.subarray(at, at + PAGE_BYTES));
    if (this.#kernels.sameFilled(PAGE_IN) === 1) {
      return this.putWord(slot, this.#words[PAGE_IN >>> 2]!, this.#words[(PAGE_IN >>> 2) + 1]!);
    }
    const compressor = this.#compressor;
    const length = isRaw ? 0 : compressor.compress(Math.min(payloadMax, COMPRESSED_BYTES_MAX));
    if (length > 0) return this.#storeBytes(slot, compressor.at, length, compressor.format);
    if (payloadMax < PAGE_BYTES)
      return this.#refused(CounterAt.refusedIncompressible, PutResult.incompressible);
    return this.#storeBytes(slot, PAGE_IN, PAGE_BYTES, PageFormat.raw);
  }

  /**
   * Stores compressed bytes source[at .. at + length) that readCompressed() returned for a page, as put() of the page
   * would. The caller guarantees that they are intact: the checksum is computed again from the bytes passed.
   */
  putCompressed(
    slot: number,
    format: PageFormat,
    source: Uint8Array,
    at: number,
    length: number,
  ): PutResult {
    assert(format > PageFormat.raw, 'the format is a compressed one');
    assert(length > 0 && length <= COMPRESSED_BYTES_MAX, '0 < length <= COMPRESSED_BYTES_MAX');
    assert(at >= 0 && at + length <= source.length, 'the source has `length` bytes at `at`');
    if (!this.#isOpen && !this.#open()) return this.#refused(CounterAt.refusedByLimit);
    this.#bytes.set(source.subarray(at, at + length), COMPRESSED);
    return this.#storeBytes(slot, COMPRESSED, length, format);
  }

  /** Compressed bytes of the page of `slot`; 0 if the page is same-filled or raw, or the slot is empty. */
  compressedBytes(slot: number): number {
    const state = this.#stateOf(slot);
    return formatIn(state) > PageFormat.raw ? state & LENGTH_MASK : 0;
  }

  /** Checks the compressed bytes and copies them to target[at ..]; returns compressedBytes(), or -1 if damaged. */
  readCompressed(slot: number, target: Uint8Array, at: number): number {
    const length = this.compressedBytes(slot);
    assert(
      at >= 0 && at + length <= target.length,
      'the target has space for the compressed bytes',
    );
    if (length === 0) return 0;
    const row = slot * ROW;
    const from = this.#arena.address(this.#rows[row]!);
    const seed = checksumSeed(slot, formatIn(this.#rows[row + 2]!));
    if (this.#kernels.checksum(from, length, seed) !== this.#rows[row + 1]!) {
      this.#corrupt();
      return -1;
    }
    const start = from >>> 0; // an address above 2 GiB may be passed as a negative number
    target.set(this.#bytes.subarray(start, start + length), at);
    return length;
  }

  /** Stores a page that repeats the 8-byte word high:low, without reading a page. */
  putWord(slot: number, low: number, high: number): PutResult {
    if (!this.#isOpen && !this.#open()) return this.#refused(CounterAt.refusedByLimit);
    const row = slot * ROW;
    const old = this.#stateOf(slot);
    if (old !== 0) countPage(this.counters, old, this.isZero(slot), -1);
    else if (!this.#enterGroup(slot)) return this.#refused(CounterAt.refusedByLimit);
    const oldLocation = this.#rows[row]!;
    const state = (PageFormat.same << FORMAT_SHIFT) | wordCheck(low, high, slot);
    this.#log.setWord(slot, low, high, state);
    if (formatIn(old) > PageFormat.same) this.#arena.free(oldLocation);
    countPage(this.counters, state, low === 0 && high === 0, 1);
    return PutResult.sameFilled;
  }

  /** Writes the page of `slot` to target[at .. at + 4096). The target is unchanged unless `found`. */
  get(slot: number, target: Uint8Array, at: number): GetResult {
    assert(at >= 0 && at + PAGE_BYTES <= target.length, 'the target has space for a page');
    const row = slot * ROW;
    const state = this.#stateOf(slot);
    if (state === 0) return GetResult.absent;
    if (formatIn(state) === PageFormat.same) {
      const first = this.#rows[row]!;
      const second = this.#rows[row + 1]!;
      if (wordCheck(first, second, slot) !== (state & LENGTH_MASK)) return this.#corrupt();
      this.#kernels.fill(PAGE_OUT, first, second);
    } else if (!this.#decompress(slot, state)) return this.#corrupt();
    if ((state & AGE_MASK) !== 0) this.#rows[row + 2] = state & ~AGE_MASK;
    target.set(this.#pageOut, at);
    return GetResult.found;
  }

  /**
   * Recompresses the page of `slot` to the dense format if that makes it at least a size class smaller. The new form is
   * written before the old one is freed, so the page exists at every moment. Costs a get and a dense compression.
   */
  recompress(slot: number): RecompressResult {
    const row = slot * ROW;
    const state = this.#stateOf(slot);
    if (state === 0) return RecompressResult.absent;
    const { dense } = this.#compressor;
    const format = formatIn(state);
    if (dense === null || format === PageFormat.same || format === dense.format)
      return RecompressResult.kept;
    if ((state & TRIED) !== 0) return RecompressResult.kept;
    if (!this.#decompress(slot, state)) {
      this.#corrupt();
      return RecompressResult.corrupt;
    }
    const length = dense.compress(PAGE_OUT, COMPRESSED, COMPRESSED_BYTES_MAX);
    const { counters } = this;
    // An object may be in a larger class than its length needs; a filtered block may be shorter than the dense one.
    const isShorter = length !== 0 && length < (state & LENGTH_MASK);
    if (!isShorter || this.#arena.classOf(length) >= this.#arena.classAt(this.#rows[row]!)) {
      this.#rows[row + 2] = state | TRIED;
      counters[CounterAt.recompressKept]! += 1;
      return RecompressResult.kept;
    }
    const location = this.#alloc(slot, length); // may move the old object: its row is read afterwards
    if (location === 0) {
      counters[CounterAt.recompressNoSpace]! += 1;
      return RecompressResult.noSpace;
    }
    const oldLocation = this.#rows[row]!;
    const denser = (state & AGE_MASK) | (dense.format << FORMAT_SHIFT) | length;
    this.#log.setObject(slot, COMPRESSED, location, denser);
    this.#arena.free(oldLocation);
    countPage(counters, state, false, -1);
    countPage(counters, denser, false, 1);
    counters[CounterAt.recompressed]! += 1;
    return RecompressResult.smaller;
  }

  /** Ages the pages of [from, to) by one; see rows.ts. */
  age(from: number, to: number): void {
    agePages(this.#rows, this.#groups.words, from, to);
  }

  /** Returns the first slot of [from, to) with an old page (see rows.ts), or `to`. */
  findOld(from: number, to: number, age: number, matches: (state: number) => boolean): number {
    return findOld(this.#rows, this.#groups.words, from, to, age, matches);
  }

  /** Drops the page of `slot`; its bytes are reusable when this returns. Returns false if there was none. */
  drop(slot: number): boolean {
    if (this.#stateOf(slot) === 0) return false;
    this.#empty(slot);
    this.#groups.leave(slot);
    return true;
  }

  /** Steps of Store.warm(), with warmObject(): read drop()'s data into the CPU caches. */
  warmRow(slot: number): number {
    return this.#stateOf(slot) === 0 ? 0 : this.#rows[slot * ROW]!;
  }

  warmObject(slot: number): number {
    const isObject = formatIn(this.#stateOf(slot)) > PageFormat.same;
    return isObject ? this.#arena.warm(this.#rows[slot * ROW]!) : 0;
  }

  /** Drops the pages of the slots [from, to); returns how many. A group without pages costs one read. */
  dropRange(from: number, to: number): number {
    let dropped = 0;
    const groups = this.#groups.words;
    for (let slot = from; slot < to; slot++) {
      if ((groups[slot >>> GROUP_SHIFT]! & ~GROUP_RESIDENT) === 0) slot |= GROUP_SLOTS - 1;
      else if (this.drop(slot)) dropped++;
    }
    return dropped;
  }

  /** Returns the first slot of [from, to) whose group has pages, or `to`. */
  skipEmpty(from: number, to: number): number {
    return skipEmpty(this.#groups.words, from, to);
  }

  /** Format of the page of `slot`; `none` if the slot is empty. */
  formatOf(slot: number): PageFormat {
    return formatIn(this.#stateOf(slot));
  }

  /** True if the page of `slot` is stored and all zero. */
  isZero(slot: number): boolean {
    const row = slot * ROW;
    if (formatIn(this.#stateOf(slot)) !== PageFormat.same) return false;
    return (this.#rows[row]! | this.#rows[row + 1]!) === 0;
  }

  /** Bytes in use: allocated arena pages, rows of groups in use, and the shard's own tables. */
  get usedBytes(): number {
    if (!this.#isOpen) return 0;
    return this.#budget.usedBytes - this.#arena.dirtyFreePages * PAGE_BYTES;
  }

  /** Compacts sparse zspages; see Arena.compact. */
  compact(movesMax: number): number {
    if (!this.#isOpen) return 0;
    const moved = this.#arena.compact(movesMax);
    this.counters[CounterAt.compactedPages] = this.#arena.compactedPages;
    return moved;
  }

  /** Releases free memory to the system until at most `keepPages` of its pages may be resident; returns how many. */
  releaseFree(keepPages: number, chunksMax: number): number {
    if (!this.#isOpen) return 0;
    let released = this.#arena.releaseFree(keepPages, chunksMax);
    if (keepPages === 0) released += this.#releaseRows();
    return released;
  }

  /** Checks every invariant of tables and arena; throws InvariantError. Cost: all rows and objects' headers. */
  verify(): void {
    this.#groups.verify();
    const residentGroups = verifyCounters(this.#rows, this.#groups.words, this.counters);
    assert(
      this.counters[CounterAt.compactedPages] === this.#arena.compactedPages,
      "the counter of compacted pages equals the arena's",
    );
    const arenaBytes = this.#arena.verify((owner) => this.#rows[owner * ROW]!);
    const openBytes = this.#isOpen ? OPEN_BYTES : 0;
    assert(
      this.#budget.usedBytes === arenaBytes + residentGroups * GROUP_ROW_BYTES + openBytes,
      'the budget counts exactly what may be resident',
    );
  }

  /** Checks the compressed or raw page of a slot and decompresses it to PAGE_OUT; false if damaged. */
  #decompress(slot: number, state: number): boolean {
    const row = slot * ROW;
    const format = formatIn(state);
    const length = state & LENGTH_MASK;
    const from = this.#arena.address(this.#rows[row]!);
    const seed = checksumSeed(slot, format);
    if (this.#kernels.checksum(from, length, seed) !== this.#rows[row + 1]!) return false;
    if (format === PageFormat.raw) {
      this.#kernels.copy(PAGE_OUT, from, PAGE_BYTES);
      return true;
    }
    return this.#compressor.decompress(format, from, length);
  }

  /** Stores the bytes at `from` in the image under `slot`. */
  #storeBytes(slot: number, from: number, length: number, format: PageFormat): PutResult {
    const location = this.#place(slot, length);
    if (location === 0) {
      const hasSpace = this.#arena.hasSpace(length);
      return this.#refused(hasSpace ? CounterAt.refusedByLimit : CounterAt.refusedBySpace);
    }
    const row = slot * ROW;
    const old = this.#rows[row + 2]!; // after #place(), which may move the old object
    const oldLocation = this.#rows[row]!;
    if (old !== 0) countPage(this.counters, old, this.isZero(slot), -1);
    const state = (format << FORMAT_SHIFT) | length;
    this.#log.setObject(slot, from, location, state);
    if (formatIn(old) > PageFormat.same && oldLocation !== location) this.#arena.free(oldLocation);
    countPage(this.counters, state, false, 1);
    return PutResult.stored;
  }

  /** Finds space for `length` bytes of `slot`, maybe in its own object. Returns 0, changing nothing, if none is left. */
  #place(slot: number, length: number): number {
    const row = slot * ROW;
    const state = this.#stateOf(slot);
    if (formatIn(state) > PageFormat.same) {
      const location = this.#rows[row]!;
      if (this.#arena.classAt(location) === this.#arena.classOf(length)) return location;
    }
    if (state === 0 && !this.#enterGroup(slot)) return 0;
    const location = this.#alloc(slot, length);
    if (location !== 0) return location;
    if (state === 0) this.#groups.leave(slot);
    return this.#reuseLarger(slot, state, length);
  }

  /** For when there is no other space: reuses the slot's own object if it is large enough. */
  #reuseLarger(slot: number, state: number, length: number): number {
    if (formatIn(state) <= PageFormat.same) return 0;
    const location = this.#rows[slot * ROW]!;
    return this.#arena.classAt(location) < this.#arena.classOf(length) ? 0 : location;
  }

  #alloc(slot: number, length: number): number {
    let location = this.#arena.alloc(length, slot);
    if (location === 0 && this.compact(PRESSURE_MOVES) > 0)
      location = this.#arena.alloc(length, slot);
    if (location === 0 && this.#makeSpace()) location = this.#arena.alloc(length, slot);
    return location;
  }

  /** Frees a used slot's page and zeroes its row; the slot stays counted in its group. */
  #empty(slot: number): void {
    const row = slot * ROW;
    const state = this.#rows[row + 2]!;
    const location = this.#rows[row]!;
    countPage(this.counters, state, this.isZero(slot), -1);
    this.#log.clear(slot);
    if (formatIn(state) !== PageFormat.same) this.#arena.free(location);
  }

  /** The state of a slot. Does not read a row of a group without rows: that would make a page of a file resident. */
  #stateOf(slot: number): number {
    return this.#groups.isCharged(slot) ? this.#rows[slot * ROW + 2]! : 0;
  }

  /** Counts a slot as used. Returns false if the rows of its group are not resident and the budget refuses them. */
  #enterGroup(slot: number): boolean {
    if (!this.#groups.isCharged(slot) && !this.#reserve(GROUP_ROW_BYTES)) return false;
    this.#groups.enter(slot);
    return true;
  }

  /** Releases the rows of empty groups; returns the pages. */
  #releaseRows(): number {
    const bytes = this.#groups.release();
    this.#budget.release(bytes);
    return bytes / PAGE_BYTES;
  }

  /** Charges the shard's own bytes when it gets its first page. */
  #open(): boolean {
    if (!this.#reserve(OPEN_BYTES)) return false;
    this.#words[1] = VERSION;
    this.#words[2] = this.slots;
    this.#words[0] = MAGIC; // last: from now on there is an image
    this.#isOpen = true;
    return true;
  }

  #reserve(length: number): boolean {
    return this.#budget.reserve(length) || (this.#makeSpace() && this.#budget.reserve(length));
  }

  /** Releases free memory of this and other shards after a reservation was refused. Returns false if there is none. */
  #makeSpace(): boolean {
    const own = this.#arena.releaseFree(0, PRESSURE_CHUNKS) + this.#releaseRows();
    return own >= CHUNK_PAGES || own + this.#pressure(this) > 0;
  }

  #refused(counter: number, result: PutResult = PutResult.refused): PutResult {
    this.counters[counter]! += 1;
    return result;
  }

  #corrupt(): GetResult {
    this.counters[CounterAt.corruptions]! += 1;
    return GetResult.corrupt;
  }
}
