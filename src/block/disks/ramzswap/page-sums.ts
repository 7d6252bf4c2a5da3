/**
 * A checksum for each page that a disk has at its backing: 4 bytes a slot, in RAM, as the map of those pages is. The backing
 * cannot be trusted to return what was written: media decay, a write goes to the wrong place, somebody else writes to the file.
 *
 *   chunks:  │ 16384 slots │ none yet │ 16384 slots │ …      a chunk is made with the first page written in it
 *   sum:     0 = not known │ checksum of the 4096 bytes (kernels.ts), as the store has it of a raw page
 *
 * Invariants
 * - A slot's sum is that of the last write to the backing that ended well. A write that fails leaves it.
 * - 0 is never a sum: a page whose checksum is 0 has 1.
 *
 * Cost: a copy to the kernels' memory and one checksum, about 0.3 us a page. One 96-byte view for up to 16 pages that lie in
 * a larger array, nothing else. All disks of a thread share that memory: 128 KiB of address space, at most 80 KiB resident.
 */
import { assert } from '../../../base/assert.ts';
import { PAGE_BYTES } from '../../../base/units.ts';
import { KERNEL_SCRATCH_BYTES, type Kernels, loadKernels } from '../../../codec/kernels.ts';
import { createMemory } from '../../../codec/linear-memory.ts';

const CHUNK_SHIFT = 14;
const CHUNK_SLOTS = 2 ** CHUNK_SHIFT;
/** The same for all: a page in another's place differs in its bytes, and a table of sums cannot be in another order. */
const SEED = 0;
/** Pages copied to the kernels' memory at a time. */
const STAGE_PAGES = 16;

/** RAM for the sums of so many slots, once all of them were written, bytes. */
export const sumBytes = (slots: number): number => slots * 4;

interface Stage {
  readonly bytes: Uint8Array;
  readonly kernels: Kernels;
}

let shared: Stage | undefined;

/** Where pages are summed. Nothing stays in it between two calls. */
function stage(): Stage {
  if (shared === undefined) {
    const memory = createMemory(KERNEL_SCRATCH_BYTES + STAGE_PAGES * PAGE_BYTES);
    const bytes = new Uint8Array(memory.buffer, KERNEL_SCRATCH_BYTES);
    shared = { bytes, kernels: loadKernels(memory) };
  }
  return shared;
}

/** Fills `into` with the sums of `count` pages at data[at ..]. */
export function sumPages(data: Uint8Array, at: number, count: number, into: Int32Array): void {
  assert(at >= 0 && at + count * PAGE_BYTES <= data.length, 'data holds its pages');
  assert(count <= into.length, 'there is room for the sums');
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

export class PageSums {
  readonly #slots: number;
  readonly #chunks: (Int32Array | null)[];

  constructor(slots: number) {
    this.#slots = slots;
    this.#chunks = new Array<Int32Array | null>(Math.ceil(slots / CHUNK_SLOTS)).fill(null);
    stage();
  }

  /** 0: not known. */
  of(slot: number): number {
    return this.#chunks[slot >>> CHUNK_SHIFT]?.[slot & (CHUNK_SLOTS - 1)] ?? 0;
  }

  /** There is memory for the sums of the slots [from, to); false when the system has none. */
  prepare(from: number, to: number): boolean {
    assert(from >= 0 && from < to && to <= this.#slots, 'slots are inside their disk');
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

  /** For slots that were prepared: the sums of the pages that a write brought, at `sums`. */
  set(from: number, to: number, sums: Int32Array): void {
    for (let slot = from; slot < to; slot++)
      this.#chunks[slot >>> CHUNK_SHIFT]![slot & (CHUNK_SLOTS - 1)] = sums[slot - from]!;
  }

  /** For slots that were prepared: their pages are zeros. */
  setZeros(from: number, to: number): void {
    const { bytes, kernels } = stage();
    bytes.fill(0, 0, PAGE_BYTES);
    const sum = stagedSum(kernels, 0);
    for (let slot = from; slot < to; slot++)
      this.#chunks[slot >>> CHUNK_SHIFT]![slot & (CHUNK_SLOTS - 1)] = sum;
  }

  /** How many of the pages at data[at ..] are not what was last written to [from, to); `into` is overwritten. */
  mismatches(from: number, to: number, data: Uint8Array, at: number, into: Int32Array): number {
    sumPages(data, at, to - from, into);
    let count = 0;
    for (let slot = from; slot < to; slot++) {
      const want = this.of(slot);
      if (want !== 0 && want !== into[slot - from]) count++;
    }
    return count;
  }
}
