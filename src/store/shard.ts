/**
 * A shard: one linear memory that holds up to 2^19 pages and every table about them. It is the unit of
 * growth (a larger store has more shards), of parallelism (one owner thread) and of survival (all state is in
 * the memory's image, at offsets that the slot count fixes).
 *
 *   0        header: magic, version, slots; counters
 *   4 KiB    kernels' scratch
 *   64 KiB   staging: page in, packed bytes, page out; 4 KiB each and as much slack
 *   88 KiB   slot table: 12 bytes a slot
 *   then     group table: slots in use per 1024 slots, and whether their rows may be resident
 *   then     the arena's tables and pages (arena.ts)
 *
 * A slot's row, three words; a zeroed row is an empty slot:
 *
 *   word 0  location of the object           | same-filled: low half of the repeated word
 *   word 1  checksum of the stored bytes     | same-filled: high half
 *   word 2  format << 13 | stored bytes      | same-filled: format << 13 | 13-bit check of the word
 *
 * Formats (codec.ts): same-filled pages cost their row and nothing else; pages that LZ4 cannot bring below
 * 3/4 of a page are stored raw, a whole page each; the rest is a packed object.
 *
 * Invariants
 * - A slot holds exactly what was put last, or nothing. A refused put leaves the slot as it was.
 * - The checksum is over the stored bytes, their format and the slot's number, checked before they are unpacked: a page
 *   comes back as it was put, or get() says corrupt.
 * - The budget holds every byte that may be resident: staging once the shard is used, 12 KiB of rows for each
 *   group of 1024 slots with a page in it, and the arena's pages. Checked before anything is destroyed.
 * - Counters are exact after every call.
 *
 * Cost: put = one copy in, one codec call, one copy to the object; get = one checksum, one codec call, one copy
 * out; drop = two table rows. No garbage, but for one view where a put's page is part of a larger array.
 */
import { Arena, type ArenaLayout, arenaLayout } from '../arena/arena.ts';
import { Budget } from '../arena/budget.ts';
import type { PageReturn, PageReturnFactory } from '../arena/ops.ts';
import { CHUNK_PAGES } from '../arena/page-runs.ts';
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type CodecFactory, type PageCodec, PageFormat } from '../codec/codec.ts';
import { type Kernels, loadKernels } from '../kernels/kernels.ts';
import { createMemory } from '../kernels/linear-memory.ts';
import { CounterAt, Get, Put } from './results.ts';

/** Most slots of a shard: 2 GiB of pages, so that even stored raw they fit one 4 GiB memory. */
export const SHARD_SLOTS_MAX: number = 2 ** 19;
/** Pages whose packed form is longer than this are stored raw: 3/4 of a page, as in zram. */
export const PACKED_LIMIT_BYTES = 3072;
/** Packed pages of at most this many bytes are counted as good: half a page, as in ramzswap. */
const GOOD_BYTES = PAGE_BYTES / 2;

/** Slots whose rows are charged and given back together: 12 KiB of rows, three pages. */
const GROUP_SLOTS = 1024;
const GROUP_SHIFT = 10;
const ROW = 3;
const GROUP_ROW_BYTES = GROUP_SLOTS * ROW * 4;
/** In a group's word: its rows may be resident. Below it: the slots in use, 0..1024. */
const GROUP_RESIDENT = 0x4000_0000;

const FORMAT_SHIFT = 13;
const LENGTH_MASK = 0x1fff;

/** "FSWP", version of the image's layout. */
const MAGIC = 0x5057_5346;
const VERSION = 1;
const COUNTERS_AT = 256;

const PAGE_IN = 65536;
const PACKED = PAGE_IN + 2 * PAGE_BYTES;
const PAGE_OUT = PACKED + 2 * PAGE_BYTES;
const SLOT_TABLE = PAGE_OUT + 2 * PAGE_BYTES;
/** Charged once for a shard in use: all below the slot table, and the small tables. */
const OPEN_BYTES = SLOT_TABLE + 2 * PAGE_BYTES;
/** Objects that a put without room moves together before it gives up: about 50 us. */
const PRESSURE_MOVES = 256;
/** Chunks of free pages that such a put gives back at the most. */
export const PRESSURE_CHUNKS = 64;
const WASM_PAGE_BYTES = 65536;

/** Address space for a quarter more pages than slots: room for zspages that are not full. */
const arenaPages = (slots: number): number => Math.ceil((slots * 1.25 + 4096) / 32) * 32;

const alignPage = (n: number): number => Math.ceil(n / PAGE_BYTES) * PAGE_BYTES;

/** Asks whoever else is under the same budget to give free memory back, for `asking`; pages given. */
export type Pressure = (asking: Shard) => number;

/** 13-bit check of a same-filled page's word under its slot. */
function wordCheck(low: number, high: number, slot: number): number {
  let h = Math.imul(low ^ Math.imul(slot, 0x9e37_79b1), 0x85eb_ca6b);
  h = Math.imul((h ^ (h >>> 15)) + high, 0xc2b2_ae35);
  return h >>> (32 - FORMAT_SHIFT); // the top bits: every bit of the word reaches them
}

/** Seeds a checksum with what must not be mixed up: the slot, and how the bytes are to be read. */
const checksumSeed = (slot: number, format: number): number =>
  slot ^ Math.imul(format, 0x9e37_79b1);

export class Shard {
  readonly slots: number;
  /** Float64, CounterAt is the index. In the image. */
  readonly counters: Float64Array;
  readonly #budget: Budget;
  readonly #kernels: Kernels;
  readonly #codec: PageCodec;
  readonly #arena: Arena;
  readonly #pageReturn: PageReturn;
  readonly #pressure: Pressure;
  readonly #rows: Int32Array;
  readonly #groups: Int32Array;
  readonly #words: Int32Array;
  readonly #pageIn: Uint8Array;
  readonly #pageOut: Uint8Array;
  /** Groups without pages whose rows may be resident. */
  #emptyGroups = 0;
  #isOpen = false;

  /** @param slots 1..SHARD_SLOTS_MAX */
  constructor(
    slots: number,
    codec: CodecFactory,
    budget: Budget,
    returns: PageReturnFactory,
    pressure: Pressure,
  ) {
    assert(slots > 0 && slots <= SHARD_SLOTS_MAX, 'a shard has 1 to 2^19 slots');
    this.slots = slots;
    const groups = Math.ceil(slots / GROUP_SLOTS);
    const groupTable = SLOT_TABLE + groups * GROUP_ROW_BYTES;
    const layout: ArenaLayout = arenaLayout(alignPage(groupTable + groups * 4), arenaPages(slots));
    // One page past the end: the kernels may read and write a little behind the last object.
    const memory = createMemory(
      Math.ceil((layout.end + PAGE_BYTES) / WASM_PAGE_BYTES) * WASM_PAGE_BYTES,
    );
    const buffer = memory.buffer;
    this.#budget = new Budget(0, budget);
    this.#kernels = loadKernels(memory);
    this.#codec = codec(memory, this.#kernels);
    this.#pageReturn = returns(memory);
    this.#pressure = pressure;
    this.#rows = new Int32Array(buffer, SLOT_TABLE, groups * GROUP_SLOTS * ROW);
    this.#groups = new Int32Array(buffer, groupTable, groups);
    this.#words = new Int32Array(buffer, 0, SLOT_TABLE / 4);
    this.#pageIn = new Uint8Array(buffer, PAGE_IN, PAGE_BYTES);
    this.#pageOut = new Uint8Array(buffer, PAGE_OUT, PAGE_BYTES);
    this.counters = new Float64Array(buffer, COUNTERS_AT, CounterAt.count);
    this.#arena = new Arena(
      buffer,
      layout,
      this.#kernels,
      this.#budget,
      this.#pageReturn,
      (owner, location) => {
        this.#rows[owner * ROW] = location;
        this.counters[CounterAt.moves]! += 1;
      },
    );
  }

  /** Stores the page at source[at .. at + 4096) under `slot`; see Store.put for `payloadMax`. */
  put(slot: number, source: Uint8Array, at: number, payloadMax: number): Put {
    assert(at >= 0 && at + PAGE_BYTES <= source.length, 'a source holds its page');
    if (!this.#isOpen && !this.#open()) return this.#refused(CounterAt.refusedByLimit);
    if (source.length === PAGE_BYTES && at === 0) this.#pageIn.set(source);
    else this.#pageIn.set(source.subarray(at, at + PAGE_BYTES));
    if (this.#kernels.sameFilled(PAGE_IN) === 1) {
      return this.putWord(slot, this.#words[PAGE_IN >>> 2]!, this.#words[(PAGE_IN >>> 2) + 1]!);
    }
    let length = this.#codec.compress(PAGE_IN, PACKED, Math.min(payloadMax, PACKED_LIMIT_BYTES));
    let from = PACKED;
    let format: number = this.#codec.format;
    if (length === 0) {
      if (payloadMax < PAGE_BYTES) return this.#poor();
      length = PAGE_BYTES;
      from = PAGE_IN;
      format = PageFormat.raw;
    }
    const location = this.#place(slot, length);
    if (location === 0) {
      const hasSpace = this.#arena.hasSpace(length);
      return this.#refused(hasSpace ? CounterAt.refusedByLimit : CounterAt.refusedBySpace);
    }
    const row = slot * ROW;
    this.#rows[row] = location;
    this.#rows[row + 1] = this.#kernels.copyChecksum(
      this.#arena.address(location),
      from,
      length,
      checksumSeed(slot, format),
    );
    this.#rows[row + 2] = (format << FORMAT_SHIFT) | length;
    const counters = this.counters;
    counters[CounterAt.storedPages]! += 1;
    counters[CounterAt.storedBytes]! += length;
    if (format === PageFormat.raw) counters[CounterAt.rawPages]! += 1;
    if (length <= GOOD_BYTES) counters[CounterAt.goodPages]! += 1;
    return Put.stored;
  }

  /** Stores a page that repeats the 8-byte word high:low, without looking at a page. */
  putWord(slot: number, low: number, high: number): Put {
    if (!this.#isOpen && !this.#open()) return this.#refused(CounterAt.refusedByLimit);
    const row = slot * ROW;
    if (this.#rows[row + 2] !== 0) this.#empty(slot);
    else if (!this.#enterGroup(slot)) return this.#refused(CounterAt.refusedByLimit);
    this.#rows[row] = low;
    this.#rows[row + 1] = high;
    this.#rows[row + 2] = (PageFormat.same << FORMAT_SHIFT) | wordCheck(low, high, slot);
    this.counters[CounterAt.storedPages]! += 1;
    this.counters[CounterAt.samePages]! += 1;
    if (low === 0 && high === 0) this.counters[CounterAt.zeroPages]! += 1;
    return Put.sameFilled;
  }

  /** Writes the page of `slot` to target[at .. at + 4096). The target is untouched unless `found`. */
  get(slot: number, target: Uint8Array, at: number): Get {
    assert(at >= 0 && at + PAGE_BYTES <= target.length, 'a target has room for its page');
    const row = slot * ROW;
    const state = this.#rows[row + 2]!;
    if (state === 0) return Get.absent;
    const format = state >>> FORMAT_SHIFT;
    const length = state & LENGTH_MASK;
    const first = this.#rows[row]!;
    const second = this.#rows[row + 1]!;
    if (format === PageFormat.same) {
      if (wordCheck(first, second, slot) !== length) return this.#corrupt();
      this.#kernels.fill(PAGE_OUT, first, second);
    } else {
      const from = this.#arena.address(first);
      const seed = checksumSeed(slot, format);
      if (this.#kernels.checksum(from, length, seed) !== second) return this.#corrupt();
      if (format === PageFormat.raw) this.#kernels.copy(PAGE_OUT, from, PAGE_BYTES);
      else if (this.#codec.expand(from, length, PAGE_OUT) !== PAGE_BYTES) return this.#corrupt();
    }
    target.set(this.#pageOut, at);
    return Get.found;
  }

  /** Gives up the page of `slot`; its bytes are reusable when this returns. False when there was none. */
  drop(slot: number): boolean {
    if (this.#rows[slot * ROW + 2] === 0) return false;
    this.#empty(slot);
    this.#leaveGroup(slot);
    return true;
  }

  /** Gives up the pages of the slots [from, to); how many there were. Groups without pages cost one look. */
  dropRange(from: number, to: number): number {
    let dropped = 0;
    for (let slot = from; slot < to; slot++) {
      if ((this.#groups[slot >>> GROUP_SHIFT]! & ~GROUP_RESIDENT) === 0) slot |= GROUP_SLOTS - 1;
      else if (this.drop(slot)) dropped++;
    }
    return dropped;
  }

  /** First slot of [from, to) whose group has pages, or `to`. */
  skipEmpty(from: number, to: number): number {
    let slot = from;
    while (slot < to && (this.#groups[slot >>> GROUP_SHIFT]! & ~GROUP_RESIDENT) === 0)
      slot = (slot | (GROUP_SLOTS - 1)) + 1;
    return Math.min(slot, to);
  }

  /** How the page of `slot` is stored; `none` when it is not. */
  formatOf(slot: number): PageFormat {
    return (this.#rows[slot * ROW + 2]! >>> FORMAT_SHIFT) as PageFormat;
  }

  /** True when the page of `slot` is stored and all zero. */
  isZero(slot: number): boolean {
    const row = slot * ROW;
    return (
      this.#rows[row + 2]! >>> FORMAT_SHIFT === PageFormat.same &&
      this.#rows[row] === 0 &&
      this.#rows[row + 1] === 0
    );
  }

  /** Bytes in use: arena pages handed out, rows of groups in use, the shard's own. */
  get usedBytes(): number {
    if (!this.#isOpen) return 0;
    return this.#budget.usedBytes - this.#arena.dirtyFreePages * PAGE_BYTES;
  }

  /** Moves objects together; see Arena.compact. */
  compact(movesMax: number): number {
    if (!this.#isOpen) return 0;
    const moved = this.#arena.compact(movesMax);
    this.counters[CounterAt.compactedPages] = this.#arena.compactedPages;
    return moved;
  }

  /** Gives free memory back to the system until at most `keepPages` pages of it may be resident. Returns pages. */
  giveBack(keepPages: number, chunksMax: number): number {
    if (!this.#isOpen) return 0;
    let given = this.#arena.giveBack(keepPages, chunksMax);
    if (keepPages === 0) given += this.#giveBackRows();
    return given;
  }

  /** Checks every invariant of tables and arena; throws Bug. Cost: all rows and objects' headers. */
  verify(): void {
    let stored = 0;
    let same = 0;
    let raw = 0;
    let zero = 0;
    let good = 0;
    let bytes = 0;
    let groupBytes = 0;
    for (let group = 0; group < this.#groups.length; group++) {
      let inGroup = 0;
      for (let slot = group << GROUP_SHIFT; slot < (group + 1) << GROUP_SHIFT; slot++) {
        const state = this.#rows[slot * ROW + 2]!;
        if (state === 0) continue;
        inGroup++;
        const format = state >>> FORMAT_SHIFT;
        if (format === PageFormat.same) same++;
        else bytes += state & LENGTH_MASK;
        if (format === PageFormat.raw) raw++;
        if (this.isZero(slot)) zero++;
        if (format > PageFormat.raw && (state & LENGTH_MASK) <= GOOD_BYTES) good++;
      }
      const word = this.#groups[group]!;
      assert((word & ~GROUP_RESIDENT) === inGroup, 'a group counts its slots');
      assert(inGroup === 0 || word >= GROUP_RESIDENT, 'rows in use are charged');
      if (word >= GROUP_RESIDENT) groupBytes += GROUP_ROW_BYTES;
      stored += inGroup;
    }
    const counters = this.counters;
    assert(counters[CounterAt.storedPages] === stored, 'stored pages are counted');
    assert(counters[CounterAt.samePages] === same, 'same-filled pages are counted');
    assert(counters[CounterAt.rawPages] === raw, 'raw pages are counted');
    assert(counters[CounterAt.zeroPages] === zero, 'zero pages are counted');
    assert(counters[CounterAt.goodPages] === good, 'pages of at most half a page are counted');
    assert(counters[CounterAt.storedBytes] === bytes, 'stored bytes are counted');
    assert(
      counters[CounterAt.compactedPages] === this.#arena.compactedPages,
      'pages freed by compaction are counted',
    );
    const arenaBytes = this.#arena.verify((owner) => this.#rows[owner * ROW]!);
    const openBytes = this.#isOpen ? OPEN_BYTES : 0;
    assert(
      this.#budget.usedBytes === arenaBytes + groupBytes + openBytes,
      'the budget holds what may be resident, no more and no less',
    );
  }

  /** Room for `length` bytes under `slot`, its old page given up; 0, and nothing changed, when there is none. */
  #place(slot: number, length: number): number {
    const row = slot * ROW;
    const state = this.#rows[row + 2]!;
    if (state >>> FORMAT_SHIFT > PageFormat.same) {
      const held = this.#rows[row]!;
      if (this.#arena.classAt(held) === this.#arena.classOf(length)) {
        this.#uncount(state);
        return held; // the new bytes go where the old ones were
      }
    }
    if (state === 0 && !this.#enterGroup(slot)) return 0;
    const location = this.#alloc(slot, length);
    if (location !== 0) {
      if (state !== 0) this.#empty(slot);
      return location;
    }
    if (state === 0) this.#leaveGroup(slot);
    return this.#reuseLarger(slot, state, length);
  }

  /** With no room elsewhere: the object that the slot has, if it is larger than what is to be stored. */
  #reuseLarger(slot: number, state: number, length: number): number {
    if (state >>> FORMAT_SHIFT <= PageFormat.same) return 0;
    const held = this.#rows[slot * ROW]!;
    if (this.#arena.classAt(held) < this.#arena.classOf(length)) return 0;
    this.#uncount(state);
    return held;
  }

  #alloc(slot: number, length: number): number {
    let location = this.#arena.alloc(length, slot);
    if (location === 0 && this.compact(PRESSURE_MOVES) > 0)
      location = this.#arena.alloc(length, slot);
    if (location === 0 && this.#makeRoom()) location = this.#arena.alloc(length, slot);
    return location;
  }

  /** Frees what a used slot holds and zeroes its row; the slot stays counted in its group. */
  #empty(slot: number): void {
    const row = slot * ROW;
    const state = this.#rows[row + 2]!;
    if (this.isZero(slot)) this.counters[CounterAt.zeroPages]! -= 1;
    this.#uncount(state);
    if (state >>> FORMAT_SHIFT !== PageFormat.same) this.#arena.free(this.#rows[row]!);
    this.#rows[row] = 0;
    this.#rows[row + 1] = 0;
    this.#rows[row + 2] = 0;
  }

  #uncount(state: number): void {
    const counters = this.counters;
    const format = state >>> FORMAT_SHIFT;
    counters[CounterAt.storedPages]! -= 1;
    const length = state & LENGTH_MASK;
    if (format === PageFormat.same) counters[CounterAt.samePages]! -= 1;
    else {
      counters[CounterAt.storedBytes]! -= length;
      if (length <= GOOD_BYTES) counters[CounterAt.goodPages]! -= 1;
    }
    if (format === PageFormat.raw) counters[CounterAt.rawPages]! -= 1;
  }

  /** Counts a slot in; false when its rows would be new and the budget has no room for them. */
  #enterGroup(slot: number): boolean {
    const group = slot >>> GROUP_SHIFT;
    const word = this.#groups[group]!;
    if (word < GROUP_RESIDENT) {
      if (!this.#reserve(GROUP_ROW_BYTES)) return false;
      this.#groups[group] = GROUP_RESIDENT + 1;
      return true;
    }
    if (word === GROUP_RESIDENT) this.#emptyGroups--;
    this.#groups[group] = word + 1;
    return true;
  }

  #leaveGroup(slot: number): void {
    const group = slot >>> GROUP_SHIFT;
    const word = this.#groups[group]! - 1;
    this.#groups[group] = word;
    if (word === GROUP_RESIDENT) this.#emptyGroups++;
  }

  #giveBackRows(): number {
    let given = 0;
    if (this.#emptyGroups === 0) return 0;
    for (let group = 0; group < this.#groups.length; group++) {
      if (this.#groups[group] !== GROUP_RESIDENT) continue;
      const at = SLOT_TABLE + group * GROUP_ROW_BYTES;
      if (!this.#pageReturn.giveBack(at, GROUP_ROW_BYTES)) break;
      this.#groups[group] = 0;
      this.#emptyGroups--;
      this.#budget.release(GROUP_ROW_BYTES);
      given += GROUP_ROW_BYTES / PAGE_BYTES;
    }
    return given;
  }

  /** Charges the shard's own bytes with its first page. */
  #open(): boolean {
    if (!this.#reserve(OPEN_BYTES)) return false;
    this.#words[0] = MAGIC;
    this.#words[1] = VERSION;
    this.#words[2] = this.slots;
    this.#isOpen = true;
    return true;
  }

  #reserve(length: number): boolean {
    return this.#budget.reserve(length) || (this.#makeRoom() && this.#budget.reserve(length));
  }

  /** Gives free memory back, this shard's and others', because a reservation did not fit. False when there is none. */
  #makeRoom(): boolean {
    const own = this.#arena.giveBack(0, PRESSURE_CHUNKS) + this.#giveBackRows();
    return own >= CHUNK_PAGES || own + this.#pressure(this) > 0;
  }

  #refused(at: typeof CounterAt.refusedByLimit | typeof CounterAt.refusedBySpace): Put {
    this.counters[at]! += 1;
    return Put.refused;
  }

  #poor(): Put {
    this.counters[CounterAt.refusedPoor]! += 1;
    return Put.poor;
  }

  #corrupt(): Get {
    this.counters[CounterAt.corruptions]! += 1;
    return Get.corrupt;
  }
}
