/**
 * A checksum for each page at the backing, 4 bytes per slot, in RAM. It detects a backing that returns other bytes than
 * those written: decayed media, misdirected writes, other processes that write to the file.
 *
 *   chunks:  │ 16384 slots │ none yet │ 16384 slots │ …      a chunk is allocated with the first page written in it
 *   sum:     0 = unknown │ checksum of the 4096 bytes (kernels.ts), as the store computes it for a raw page
 *
 * Invariants
 * - The sum of a slot is that of the last successful write to the backing; a failed write does not change it.
 * - 0 is never a sum: a checksum of 0 is stored as 1.
 *
 * Cost: a copy to the kernels' memory and one checksum, about 0.3 us per page. It allocates only one view (96 bytes)
 * per 16 pages of a larger array. All disks of a thread share that memory: 128 KiB of address space, at most 80 KiB
 * resident.
 */
import { assert } from '../../../base/assert.ts';
import { PAGE_BYTES } from '../../../base/units.ts';
import { KERNEL_SCRATCH_BYTES, type Kernels, loadKernels } from '../../../codec/kernels.ts';
import { createMemory } from '../../../codec/linear-memory.ts';

const CHUNK_SHIFT = 14;
const CHUNK_SLOTS = 2 ** CHUNK_SHIFT;
/** The same for every slot: a misplaced page already fails the sum of its slot, because its bytes differ. */
const SEED = 0;
/** Pages copied to the kernels' memory at a time. */
const STAGE_PAGES = 24;

/** Size of the sums of `slots` slots once all chunks are allocated, bytes. */
export const sumBytes = (slots: number): number => slots * 4;

interface Stage {
  readonly bytes: Uint8Array;
  readonly kernels: Kernels;
}

let shared: Stage | undefined;

/** The memory in which pages are summed; keeps no state between calls. */
function stage(): Stage {
  if (shared === undefined) {
    const memory = createMemory(KERNEL_SCRATCH_BYTES + STAGE_PAGES * PAGE_BYTES);
    const bytes = new Uint8Array(memory.buffer, KERNEL_SCRATCH_BYTES);
    shared = { bytes, kernels: loadKernels(memory) };
  }
  return shared;
}

/** Writes the sums of `count` pages at data[at ..] to `into`. */
export function sumPages(data: Uint8Array, at: number, count: number, into: Int32Array): void {
  assert(at >= 0 && at + count * PAGE_BYTES <= data.length, 'the pages are inside data');
  assert(count <= into.length, 'the sums fit in the array');
  const { bytes, kernels } = stage();
  for (let done = 0; done < count; done += STAGE_PAGES) {
    const pages = Math.min(STAGE_PAGES, count - done);
    const from = at + done * PAGE_BYTES;
    const to = from + pages * PAGE_BYTES;
    bytes.set(from === 0 && to === data.length ? data : data.subarray(from, to));
    for (let page = 0; page < pages; page++) into[done + page] = stagedSum(kernels, page);
  }
}

function stagedSum(kernels: Kernels, page: number): number {
  const sum = kernels.checksum(KERNEL_SCRATCH_BYTES + page * PAGE_BYTES, PAGE_BYTES, SEED);
  return sum === 0 ? 1 : sum;
}

/** The checksums of a disk's pages, by slot. */
export class PageSums {
  readonly #slots: number;
  readonly #chunks: (Int32Array | null)[];

  /** @param words the sums, `slots` long; null: all unknown */
  constructor(slots: number, words: Int32Array | null = null) {
    this.#slots = slots;
    this.#chunks = Array.from(
      { length: Math.ceil(slots / CHUNK_SLOTS) },
      (_, i) => words?.subarray(i * CHUNK_SLOTS, (i + 1) * CHUNK_SLOTS) ?? null,
    );
    stage();
  }

  /** The sum of a slot; 0 = unknown. */
  of(slot: number): number {
    return this.#chunks[slot >>> CHUNK_SHIFT]?.[slot & (CHUNK_SLOTS - 1)] ?? 0;
  }

  /** Allocates the sums of the slots [from, to); false when the system has no memory for them. */
  prepare(from: number, to: number): boolean {
    assert(from >= 0 && from < to && to <= this.#slots, 'the slots are inside the disk');
    for (let chunk = from >>> CHUNK_SHIFT; chunk <= (to - 1) >>> CHUNK_SHIFT; chunk++) {
      if (this.#chunks[chunk] !== null) continue;
      const slots = Math.min(CHUNK_SLOTS, this.#slots - chunk * CHUNK_SLOTS);
      try {
        this.#chunks[chunk] = new Int32Array(slots);
      } catch (error) {
        if (error instanceof RangeError) return false;
        throw error;
      }
    }
    return true;
  }

  /** Sets the sums of the prepared slots [from, to) to sums[0 ..]. */
  set(from: number, to: number, sums: Int32Array): void {
    for (let slot = from; slot < to; slot++)
      this.#chunks[slot >>> CHUNK_SHIFT]![slot & (CHUNK_SLOTS - 1)] = sums[slot - from]!;
  }

  /** Sets the sums of the prepared slots [from, to) to that of a page of zeros. */
  setZeros(from: number, to: number): void {
    const { bytes, kernels } = stage();
    bytes.fill(0, 0, PAGE_BYTES);
    const sum = stagedSum(kernels, 0);
    for (let slot = from; slot < to; slot++)
      this.#chunks[slot >>> CHUNK_SHIFT]![slot & (CHUNK_SLOTS - 1)] = sum;
  }

  /**
   * Sets the sum of a prepared slot to `sum` if that is the sum of `page`.
   * @param sum null: that of a page of zeros
   */
  adopt(slot: number, page: Uint8Array, sum: number | null): void {
    const found = new Int32Array(1);
    sumPages(page, 0, 1, found);
    const isWritten = sum === null ? page.every((byte) => byte === 0) : found[0] === sum;
    if (isWritten) this.set(slot, slot + 1, found);
  }

  /** Number of pages at data[at ..] that do not match the known sums of [from, to). Writes their sums to `into`. */
  mismatches(from: number, to: number, data: Uint8Array, at: number, into: Int32Array): number {
    sumPages(data, at, to - from, into);
    let count = 0;
    for (let slot = from; slot < to; slot++) {
      const expected = this.of(slot);
      if (expected !== 0 && expected !== into[slot - from]) count++;
    }
    return count;
  }
}
