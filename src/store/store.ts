/**
 * The compressed page store: pages in slots 0 .. slots - 1, spread over shards. Every interface of the project uses it.
 *
 *   put(slot, page)   store a copy, or refuse and change nothing
 *   get(slot, into)   read it back, checked
 *   drop(slot)        free its bytes before the call returns
 *   recompress(slot)  store an idle page in less memory, with the dense codec if there is one
 *
 * Slot s is always in shard s / 2^19, so one shift finds a slot and a store grows without moving anything. The first
 * shard is created with the store, the others at the first put into their slots. Creating one takes 4 to 20 ms,
 * because V8 collects garbage when it reserves so much address space.
 *
 * The owner schedules maintenance (compaction, releasing memory): call maintain() after a batch and compactIdle() when
 * idle. Otherwise the store works, but uses more memory than necessary.
 */
import type { Budget } from '../arena/budget.ts';
import { keepPages, type PageReleaseFactory } from '../arena/ops.ts';
import { CHUNK_PAGES } from '../arena/page-runs.ts';
import { assert } from '../base/assert.ts';
import { PAGE_BYTES, type Slot } from '../base/units.ts';
import { type CodecFactory, PageFormat } from '../codec/codec.ts';
import { lz4 } from '../codec/lz4.ts';
import type { Adopted } from './adopt.ts';
import type { ShardImages } from './image.ts';
import { CounterAt, GetResult, PutResult, RecompressResult } from './results.ts';
import { AGE_MAX, isCompressed, isRaw, isUntried } from './rows.ts';
import { Shard } from './shard.ts';
import { type OnShard, PRESSURE_CHUNKS, type Pressure, SHARD_SLOTS_MAX } from './shard-parts.ts';

const SHARD_SHIFT = 19;
const SHARD_MASK = SHARD_SLOTS_MAX - 1;

/** Free pages that may stay resident while the store is busy: 1 MiB or 1/64 of the used memory, whichever is more. */
const KEEP_PAGES_MIN = 256;
const KEEP_SHARE_SHIFT = 6 + 12;
const MAINTAIN_MOVES_MAX = 512;
/** Chunks of 128 KiB that one maintain() may release, even after few changes. */
const RELEASE_CHUNKS_MIN = 64;
/** Limits of one compactIdle() per shard: about 10 ms. */
const IDLE_MOVES_MAX = 8192;
const IDLE_CHUNKS_MAX = 512;

/** Size, memory limit and codecs of a Store. */
export interface StoreOptions {
  /** Number of slots, 1 .. 2^31. */
  readonly slots: number;
  /** Limit on the memory that the store may make resident, metadata included. */
  readonly budget: Budget;
  readonly codec?: CodecFactory;
  /** Codec of recompress(), whose format differs from that of `codec`. Default: none; pages are not recompressed. */
  readonly dense?: CodecFactory | null;
  /** How freed memory is released to the system; default: it is not. */
  readonly release?: PageReleaseFactory;
  /**
   * True: the first shard, too, is created at the first put, which is refused if there is no address space. Creating
   * it costs a garbage collection (docs/adr/0005). Default: it is created with the store.
   */
  readonly startsEmpty?: boolean;
  /** Called when a shard is created. */
  readonly onShard?: OnShard | undefined;
  /** Memories that outlive the process; the store starts with their pages. Default: memories of this process. */
  readonly images?: ShardImages | undefined;
}

/** A compressed page store: copies of 4096-byte pages, by slot, under a memory limit. */
export class Store {
  readonly slots: number;
  readonly #budget: Budget;
  /** By shard number; null until the first put into its slots. #shards has the existing ones in order of creation. */
  readonly #shardAt: (Shard | null)[];
  readonly #shards: Shard[] = [];
  readonly #hasDense: boolean;
  readonly #onShard: OnShard;
  readonly #makeShard: (firstSlot: number) => Shard;
  #shardsRefused = 0;
  /**
   * True if the last attempt to create a shard failed. An attempt costs a garbage collection, so the next one waits for
   * a compactIdle().
   */
  #hasNoSpace = false;
  #maintained = 0;
  /** Slot at which recompressIdle() continues. */
  #recompressAt = 0;

  /**
   * @throws RangeError if the process has no address space for the first shard; SwapError ERR_IO_IMAGE: an image is torn or
   * foreign; ERR_IO_NO_ROOM: its pages exceed the limit
   */
  constructor(options: StoreOptions) {
    const { slots, budget, codec = lz4, release = keepPages, dense = null } = options;
    const { startsEmpty = false, onShard = () => {}, images } = options;
    assert(Number.isInteger(slots) && slots > 0 && slots <= 2 ** 31, 'a store has 1 to 2^31 slots');
    this.slots = slots;
    this.#onShard = onShard;
    this.#budget = budget;
    this.#hasDense = dense !== null;
    const pressure: Pressure = (requester) => this.#releaseFor(requester);
    const parts = { codec, dense, budget, release, pressure, images: images ?? null };
    this.#makeShard = (first) =>
      new Shard({
        slots: Math.min(slots - first, SHARD_SLOTS_MAX),
        number: first / SHARD_SLOTS_MAX,
        ...parts,
      });
    this.#shardAt = new Array<Shard | null>(Math.ceil(slots / SHARD_SLOTS_MAX)).fill(null);
    if (!startsEmpty || images?.has(0) === true) this.#addShard(0);
    for (let number = 1; number < this.#shardAt.length; number++)
      if (images?.has(number) === true) this.#addShard(number);
  }

  /**
   * Stores a copy of the page at source[at .. at + 4096). A refused put leaves the slot unchanged.
   * Allocates nothing if the source is exactly one page, and one 96-byte view if it is a larger array.
   * @param payloadMax a page that needs more bytes returns `incompressible` and leaves the slot unchanged; with the
   *   default every page is accepted, stored raw if necessary
   */
  put(slot: Slot, source: Uint8Array, at: number, payloadMax: number = PAGE_BYTES): PutResult {
    const shard = this.#shardOf(slot) ?? this.#openShard(slot >>> SHARD_SHIFT);
    return shard === null
      ? PutResult.refused
      : shard.put(slot & SHARD_MASK, source, at, payloadMax);
  }

  /** Like put(), without compression: a page that is not same-filled is stored raw. */
  putRaw(slot: Slot, source: Uint8Array, at: number): PutResult {
    const shard = this.#shardOf(slot) ?? this.#openShard(slot >>> SHARD_SHIFT);
    return shard === null
      ? PutResult.refused
      : shard.put(slot & SHARD_MASK, source, at, PAGE_BYTES, true);
  }

  /** Stores a page that repeats the 8-byte word high:low (32 bits each), as put() of that page would. */
  putWord(slot: Slot, low: number, high: number): PutResult {
    const shard = this.#shardOf(slot) ?? this.#openShard(slot >>> SHARD_SHIFT);
    return shard === null ? PutResult.refused : shard.putWord(slot & SHARD_MASK, low, high);
  }

  /** Writes the page to target[at .. at + 4096), or returns the reason and leaves the target unchanged. */
  get(slot: Slot, target: Uint8Array, at: number): GetResult {
    return this.#shardOf(slot)?.get(slot & SHARD_MASK, target, at) ?? GetResult.absent;
  }

  /** Drops the page of `slot`: its bytes are reusable when this returns. Returns false if there was none. */
  drop(slot: Slot): boolean {
    return this.#shardOf(slot)?.drop(slot & SHARD_MASK) ?? false;
  }

  /**
   * Reads the tables that drop() of slots[0 .. count) will read, and changes nothing. Each read may be a cache miss;
   * here the misses overlap, in single drops they do not. Returns a checksum, so that no read is optimised away.
   */
  warm(slots: Int32Array, count: number): number {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const s = slots[i]! as Slot;
      sum ^= this.#shardOf(s)?.warmRow(s & SHARD_MASK) ?? 0;
    }
    for (let i = 0; i < count; i++) {
      const s = slots[i]! as Slot;
      sum ^= this.#shardOf(s)?.warmObject(s & SHARD_MASK) ?? 0;
    }
    return sum;
  }

  /** Drops the pages of the slots [from, to); returns how many. */
  dropRange(from: Slot, to: number): number {
    assert(from >= 0 && to <= this.slots, '0 <= from and to <= slots');
    let dropped = 0;
    for (let at: number = from; at < to; ) {
      const shard = at >>> SHARD_SHIFT;
      const first = shard << SHARD_SHIFT;
      const end = Math.min(to, first + SHARD_SLOTS_MAX);
      dropped += this.#shardAt[shard]?.dropRange(at - first, end - first) ?? 0;
      at = end;
    }
    return dropped;
  }

  /** First slot of [from, to) that may have a page, or `to`: an empty shard or group of 1024 slots costs one read. */
  skipEmpty(from: Slot, to: number): number {
    for (let at: number = from; at < to; ) {
      const number = at >>> SHARD_SHIFT;
      const first = number << SHARD_SHIFT;
      const end = Math.min(to, first + SHARD_SLOTS_MAX);
      const shard = this.#shardAt[number]!;
      const found = shard === null ? end : first + shard.skipEmpty(at - first, end - first);
      if (found < end) return found;
      at = end;
    }
    return to;
  }

  /** Stores one page in the dense format if that takes less memory. A get returns the same page as before. */
  recompress(slot: Slot): RecompressResult {
    return this.#shardOf(slot)?.recompress(slot & SHARD_MASK) ?? RecompressResult.absent;
  }

  /**
   * Recompresses up to `pagesMax` pages that have at least this age (0 .. 3), starting where the last call ended. A page
   * is not tried again until it is put again. Returns the number tried; 0 if no page is left or there is no space.
   * Costs about 30 us per page tried and a few ns per slot scanned.
   */
  recompressIdle(pagesMax: number, age: number): number {
    if (!this.#hasDense) return 0;
    let tried = 0;
    let scanned = 0;
    while (tried < pagesMax && scanned < this.slots) {
      const found = this.#findOld(this.#recompressAt, this.slots, age, isUntried);
      scanned += found - this.#recompressAt;
      if (found === this.slots) {
        this.#recompressAt = 0;
        continue;
      }
      const result = this.recompress(found as Slot);
      if (result === RecompressResult.noSpace) return tried;
      this.#recompressAt = found + 1;
      scanned++;
      if (result !== RecompressResult.corrupt) tried++;
    }
    return tried;
  }

  /**
   * Ages the pages of [from, to) by one. A page's age is the number of these passes since it was put or last got, at
   * most 3; 0 means used since the last pass. The caller defines a pass: a minute, or a revolution of the clock hand.
   */
  age(from: Slot, to: number): void {
    assert(from >= 0 && to <= this.slots, '0 <= from and to <= slots');
    for (let at: number = from; at < to; ) {
      const number = at >>> SHARD_SHIFT;
      const first = number << SHARD_SHIFT;
      const end = Math.min(to, first + SHARD_SLOTS_MAX);
      this.#shardAt[number]?.age(at - first, end - first);
      at = end;
    }
  }

  /**
   * Returns the first slot of [from, to) whose page has at least this age, or -1. Skips same-filled pages, which use
   * almost no memory.
   * @param incompressibleOnly only pages that no codec made smaller
   */
  coldest(from: Slot, to: number, age: number, incompressibleOnly: boolean): number {
    const found = this.#findOld(from, to, age, incompressibleOnly ? isRaw : isCompressed);
    return found === to ? -1 : found;
  }

  /** Stores compressed bytes from readCompressed(), as put() of their page would; see Shard.putCompressed. */
  putCompressed(
    slot: Slot,
    format: PageFormat,
    source: Uint8Array,
    at: number,
    length: number,
  ): PutResult {
    const shard = this.#shardOf(slot) ?? this.#openShard(slot >>> SHARD_SHIFT);
    if (shard === null) return PutResult.refused;
    return shard.putCompressed(slot & SHARD_MASK, format, source, at, length);
  }

  /** Compressed bytes of the page; 0 if it is not stored compressed. */
  compressedBytes(slot: Slot): number {
    return this.#shardOf(slot)?.compressedBytes(slot & SHARD_MASK) ?? 0;
  }

  /** Checks the compressed bytes and copies them to target[at ..]; returns their number, 0 if none, -1 if damaged. */
  readCompressed(slot: Slot, target: Uint8Array, at: number): number {
    return this.#shardOf(slot)?.readCompressed(slot & SHARD_MASK, target, at) ?? 0;
  }

  /** Format of the stored page; `none` if the slot is empty. */
  formatOf(slot: Slot): PageFormat {
    return this.#shardOf(slot)?.formatOf(slot & SHARD_MASK) ?? PageFormat.none;
  }

  /** True if the page is stored and all zero. */
  isZero(slot: Slot): boolean {
    return this.#shardOf(slot)?.isZero(slot & SHARD_MASK) ?? false;
  }

  /** Sum of one counter over all shards; see CounterAt. */
  counter(at: number): number {
    let sum = at === CounterAt.refusedBySpace ? this.#shardsRefused : 0;
    for (const shard of this.#shards) sum += shard.counters[at]!;
    return sum;
  }

  /** What the images contained when the store was created. */
  get adopted(): Adopted {
    const sum = { pages: 0, damaged: 0, damagedSlots: [] as number[], redone: 0 };
    this.#shardAt.forEach((shard, number) => {
      if (!shard?.adopted) return;
      const { pages, damaged, damagedSlots, redone } = shard.adopted;
      sum.pages += pages;
      sum.damaged += damaged;
      sum.damagedSlots.push(...damagedSlots.map((slot) => slot + (number << SHARD_SHIFT)));
      sum.redone += redone;
    });
    return sum;
  }

  get storedPages(): number {
    return this.counter(CounterAt.storedPages);
  }

  /** Bytes of RAM in use, all metadata included; at most the budget's limit. */
  get usedBytes(): number {
    let sum = 0;
    for (const shard of this.#shards) sum += shard.usedBytes;
    return sum;
  }

  /**
   * Maintenance after `changed` (at least 1) pages were put or dropped. Compacts by moving that many objects (at most
   * 512), and releases free memory above a small reserve as fast as drops free it, so that resident memory follows
   * used memory. Works on the next shard that has something to do; returns false if none has.
   */
  maintain(changed: number): boolean {
    const moves = Math.min(changed, MAINTAIN_MOVES_MAX);
    for (let i = 0; i < this.#shards.length; i++) {
      const shard = this.#shards[this.#maintained]!;
      this.#maintained = (this.#maintained + 1) % this.#shards.length;
      const moved = shard.compact(moves);
      const keep = Math.max(KEEP_PAGES_MIN, Math.floor(shard.usedBytes / 2 ** KEEP_SHARE_SHIFT));
      const released = shard.releaseFree(keep, Math.max(RELEASE_CHUNKS_MIN, changed >>> 2));
      if (moved > 0 || released > 0) return true;
    }
    return false;
  }

  /**
   * Maintenance for idle time: compacts, then releases all free memory, including the reserve. Takes a few
   * milliseconds per call. Returns false if there was nothing to do.
   * @param share fraction of the work of a call, for callers that do other work in between; above 0, at most 1
   */
  compactIdle(share: number = 1): boolean {
    this.#hasNoSpace = false;
    const moves = Math.ceil(IDLE_MOVES_MAX * share);
    const chunks = Math.ceil(IDLE_CHUNKS_MAX * share);
    for (const shard of this.#shards)
      if (shard.compact(moves) > 0 || shard.releaseFree(0, chunks) > 0) return true;
    return false;
  }

  /** Releases all free memory to the system in one call; this may take long. */
  releaseAll(): void {
    for (const shard of this.#shards) while (shard.releaseFree(0, Number.MAX_SAFE_INTEGER) > 0);
  }

  /** Checks every invariant; throws InvariantError. For tests and `check`: reads all rows. */
  verify(): void {
    for (const shard of this.#shards) shard.verify();
    assert(
      this.#budget.limitBytes === 0 || this.#budget.usedBytes <= this.#budget.limitBytes,
      'used bytes are within the limit',
    );
  }

  #findOld(from: number, to: number, age: number, matches: (state: number) => boolean): number {
    assert(from >= 0 && to <= this.slots, '0 <= from and to <= slots');
    assert(age >= 0 && age <= AGE_MAX, '0 <= age <= AGE_MAX');
    for (let at = from; at < to; ) {
      const first = at & ~SHARD_MASK;
      const end = Math.min(to, first + SHARD_SLOTS_MAX);
      const shard = this.#shardAt[at >>> SHARD_SHIFT]!;
      const found = shard?.findOld(at - first, end - first, age, matches) ?? end - first;
      if (first + found < end) return first + found;
      at = end;
    }
    return to;
  }

  /** Releases free memory of the other shards, which share one budget with the shard that is short of space. */
  #releaseFor(requester: object): number {
    let released = 0;
    for (const shard of this.#shards) {
      if (released >= CHUNK_PAGES) break; // more than any put needs
      if (shard !== requester) released += shard.releaseFree(0, PRESSURE_CHUNKS);
    }
    return released;
  }

  #shardOf(slot: Slot): Shard | null {
    assert(slot >= 0 && slot < this.slots, '0 <= slot < slots');
    return this.#shardAt[slot >>> SHARD_SHIFT]!;
  }

  /** Creates a shard at the first put into its slots; null if the process has no address space for it. */
  #openShard(number: number): Shard | null {
    if (!this.#hasNoSpace) {
      try {
        return this.#addShard(number);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        this.#hasNoSpace = true;
      }
    }
    this.#shardsRefused++;
    return null;
  }

  #addShard(number: number): Shard {
    const shard = this.#makeShard(number << SHARD_SHIFT);
    this.#shardAt[number] = shard;
    this.#shards.push(shard);
    this.#onShard(number, shard.view);
    return shard;
  }
}
