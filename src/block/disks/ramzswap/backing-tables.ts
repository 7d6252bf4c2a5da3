/**
 * What a backing must know to read its pages again: which slots it has, their checksums, and the writes in flight. The
 * tables are in ordinary memory, or in an image that outlives the process.
 *
 *   0      magic "FSWB", version, slots, number of intents
 *   64     intents: state (operation << 16 | pages, 0 = none), first slot, 64 checksums; 4 bytes each
 *   then   below: a bit per slot
 *   then   sums: 4 bytes per slot
 *
 * Each part starts at a page. A process may be killed between any two stores:
 *
 *   write    sums and slot of the intent ▶ its state   ← commit ▶ write to the backing ▶ sums ▶ below ▶ copy in RAM is
 *            freed ▶ state = 0 ▶ the client is told
 *   put      copy in RAM ▶ below = 0
 *   drop     copy in RAM is freed, below = 0
 *
 * Invariants
 * - While a write is in flight, each of its pages at the backing matches the sum of its slot, or that of the intent.
 * - A slot with its bit set and a page in RAM is one whose change was not acknowledged: the page in RAM is complete.
 *
 * Cost: an intent is two stores and no copy: requests compute their checksums in it.
 */
import { assert } from '../../../base/assert.ts';
import { SwapError } from '../../../base/errors.ts';
import { PAGE_BYTES } from '../../../base/units.ts';
import type { LinearMemory } from '../../../codec/linear-memory.ts';
import type { ShardImages } from '../../../store/image.ts';
import { BioOp } from '../../bio.ts';
import { PageSums, sumBytes } from './page-sums.ts';
import { bitBytes, SlotBits } from './slot-bits.ts';

/** Maximum pages of a bio with data: the size of a batch of the NBD server. */
export const RUN_PAGES = 64;
/** Default of BackingOptions.bioCount, and the value with images. */
export const BACKING_BIO_COUNT = 32;

const MAGIC = 0x4257_5346;
const VERSION = 1;
const INTENTS_AT = 64;
const INTENT_WORDS = 2 + RUN_PAGES;
const OP_SHIFT = 16;
const WASM_PAGE_BYTES = 65536;
/** A WebAssembly memory has at most 4 GiB. */
const IMAGE_BYTES_MAX = 2 ** 32;

const pageAligned = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
/** One more than bios: the request that waits for the next bio has one, too. */
const intentCount = (bioCount: number): number => bioCount + 1;

interface Layout {
  readonly below: number;
  readonly sums: number;
  readonly end: number;
}

function layoutOf(slots: number, bioCount: number): Layout {
  const below = pageAligned(INTENTS_AT + intentCount(bioCount) * INTENT_WORDS * 4);
  const sums = below + pageAligned(bitBytes(slots));
  return { below, sums, end: sums + pageAligned(sumBytes(slots)) };
}

/** Size of the tables of a disk of `slots` slots, bytes. */
export const tablesBytes = (slots: number, bioCount: number = BACKING_BIO_COUNT): number =>
  layoutOf(slots, bioCount).end;

/** Size of their image, bytes, a multiple of 64 KiB. */
export const tablesImageBytes = (slots: number): number =>
  Math.ceil(tablesBytes(slots) / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;

/** Where `below` is in the image, bytes. */
export function belowInImage(slots: number): { at: number; length: number } {
  return { at: layoutOf(slots, BACKING_BIO_COUNT).below, length: bitBytes(slots) };
}

/** Whether an image of the tables can be mapped: up to almost 4 TiB of disk. */
export const canMapTables = (slots: number): boolean => tablesImageBytes(slots) <= IMAGE_BYTES_MAX;

/** Memories of a disk that outlive the process. */
export interface RamzswapImages extends ShardImages {
  /** The memory of the tables of a backing, of `bytes` bytes, zero if new. */
  openTables(bytes: number): LinearMemory;
}

const refuse = (why: string): SwapError =>
  new SwapError('ERR_IO_IMAGE', `the image cannot be adopted: ${why}`, { reason: why });

/** A write to the backing. While it is in flight, a page may have its old or its new contents. */
export class WriteIntent {
  /** The checksums of the pages of a write; otherwise free for the request to use. */
  readonly sums: Int32Array;
  readonly #words: Int32Array;

  constructor(words: Int32Array = new Int32Array(INTENT_WORDS)) {
    assert(words.length === INTENT_WORDS, 'an intent has 66 words');
    this.#words = words;
    this.sums = words.subarray(2);
  }

  /** BioOp.write, BioOp.writeZeroes, or 0: no write is in flight. */
  get op(): number {
    return this.#words[0]! >>> OP_SHIFT;
  }

  get from(): number {
    return this.#words[1]!;
  }

  get to(): number {
    return this.#words[1]! + (this.#words[0]! & 0xffff);
  }

  /** Commits the intent to change the slots [from, to); the sums are set. */
  begin(op: BioOp, from: number, to: number): void {
    assert(to - from < 2 ** OP_SHIFT, 'an intent has fewer than 65536 pages');
    this.#words[1] = from;
    Atomics.store(this.#words, 0, (op << OP_SHIFT) | (to - from)); // no compiler moves a store past it
  }

  end(): void {
    if (this.#words[0] !== 0) Atomics.store(this.#words, 0, 0);
  }
}

/** Reads one page of the backing; false: it cannot be read. */
export type ReadPage = (slot: number, page: Uint8Array) => boolean;

export class BackingTables {
  /** The slots whose page is at the backing. */
  readonly below: SlotBits;
  readonly sums: PageSums;
  readonly intents: readonly WriteIntent[];
  /** Whether another process has used these tables. */
  readonly isUsed: boolean;

  /** @throws SwapError ERR_IO_IMAGE: the tables are not those of a disk with this number of slots */
  constructor(slots: number, bioCount: number, images: RamzswapImages | null) {
    const layout = layoutOf(slots, bioCount);
    const count = intentCount(bioCount);
    const buffer = images?.openTables(tablesImageBytes(slots)).buffer ?? null;
    const at = (offset: number, words: number): Int32Array =>
      buffer === null ? new Int32Array(words) : new Int32Array(buffer, offset, words);

    const header = at(0, 4);
    const [magic, version, foundSlots, foundCount] = header;
    this.isUsed = magic !== 0;
    if (this.isUsed) {
      if (magic !== MAGIC || version !== VERSION) throw refuse('the tables of the backing');
      if (foundSlots !== slots || foundCount !== count)
        throw refuse(`the tables of the backing are those of a disk of ${foundSlots} slots`);
    }
    this.below = new SlotBits(slots, at(layout.below, bitBytes(slots) / 4));
    this.sums = new PageSums(slots, buffer === null ? null : at(layout.sums, slots));
    this.intents = Array.from(
      { length: count },
      (_, i) => new WriteIntent(at(INTENTS_AT + i * INTENT_WORDS * 4, INTENT_WORDS)),
    );
    if (this.isUsed) return;
    header.set([0, VERSION, slots, count]);
    header[0] = MAGIC;
  }

  /**
   * Completes or undoes what a killed process had in progress.
   * @param isInRam whether a slot has a page in RAM
   * @throws SwapError ERR_IO_IMAGE: the tables are damaged; nothing has changed then
   */
  adopt(isInRam: (slot: number) => boolean, readPage: ReadPage): void {
    const { below, sums, intents } = this;
    if (below.hasStray()) throw refuse('the bitmap of the backing has slots past the last one');
    for (const { op, from, to } of intents) {
      if (op === 0) continue;
      const isKnown = op === BioOp.write || op === BioOp.writeZeroes;
      const pagesMax = op === BioOp.write ? RUN_PAGES : below.slots;
      if (!isKnown || from < 0 || from >= to || to > below.slots || to - from > pagesMax)
        throw refuse(`a write to the backing has the impossible range ${from} .. ${to}`);
    }
    const { slots } = below;
    for (let slot = below.next(0, slots); slot < slots; slot = below.next(slot + 1, slots))
      if (isInRam(slot)) below.clearRange(slot, slot + 1);
    const page = new Uint8Array(PAGE_BYTES);
    for (const intent of intents) {
      const { op, from, to } = intent;
      for (let slot = from; op !== 0 && slot < to; slot++) {
        if (!below.has(slot) || !readPage(slot, page)) continue;
        sums.adopt(slot, page, op === BioOp.write ? intent.sums[slot - from]! : null);
      }
      intent.end();
    }
  }
}
