/**
 * A PageComparer on the WebAssembly kernels: hashes and compares two pages in a small linear memory.
 *
 * Cost: a copy and a hash of 4 KiB per page, and a compare per candidate. Allocates nothing if the source is one page;
 * if it is a larger array, one view of about 100 bytes.
 */
import { PAGE_BYTES } from '../base/units.ts';
import { KERNEL_SCRATCH_BYTES, type Kernels, loadKernels } from '../codec/kernels.ts';
import { createMemory } from '../codec/linear-memory.ts';
import type { PageComparer } from './ops.ts';

const PAGE_AT = KERNEL_SCRATCH_BYTES;
const CANDIDATE_AT: number = PAGE_AT + PAGE_BYTES;
const MEMORY_BYTES: number = 2 * KERNEL_SCRATCH_BYTES;

/** The default PageComparer of tmem: hashes and compares 4096-byte pages with the WebAssembly kernels. */
export class KernelComparer implements PageComparer {
  readonly page: Uint8Array;
  readonly candidate: Uint8Array;
  hashLow = 0;
  hashHigh = 0;
  readonly #kernels: Kernels;

  constructor() {
    const memory = createMemory(MEMORY_BYTES);
    this.#kernels = loadKernels(memory);
    this.page = new Uint8Array(memory.buffer, PAGE_AT, PAGE_BYTES);
    this.candidate = new Uint8Array(memory.buffer, CANDIDATE_AT, PAGE_BYTES);
  }

  load(source: Uint8Array, at: number): void {
    const isOnePage = at === 0 && source.length === PAGE_BYTES;
    this.page.set(isOnePage ? source : source.subarray(at, at + PAGE_BYTES));
    this.hashLow = this.#kernels.hash(PAGE_AT);
    this.hashHigh = this.#kernels.hashHigh();
  }

  isEqual(): boolean {
    return this.#kernels.equal(PAGE_AT, CANDIDATE_AT, PAGE_BYTES) === 1;
  }
}
