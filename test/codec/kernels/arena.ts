/**
 * A memory with kernels and fenced places for one source and one target: bytes around both carry a pattern,
 * so a read or write outside shows.
 */
import assert from 'node:assert/strict';
import { KERNEL_SLACK_BYTES, type Kernels, loadKernels } from '../../../src/codec/kernels.ts';
import { createMemory, type LinearMemory } from '../../../src/codec/linear-memory.ts';
import { PAGE } from './made-pages.ts';

const FENCE_BYTES = 8192;
const FENCE = 0xa7;

export class Arena {
  readonly memory: LinearMemory = createMemory(4 * 65536);
  readonly kernels: Kernels = loadKernels(this.memory);
  readonly bytes: Uint8Array = new Uint8Array(this.memory.buffer);
  /** A page and a block lie at odd places: nothing may count on alignment. */
  readonly page: number = 65536 + FENCE_BYTES + 24;
  readonly block: number = this.page + PAGE + FENCE_BYTES + 3;
  readonly blockRoom: number = PAGE + 256;

  constructor() {
    this.fence();
  }

  /** Draws the pattern over everything that is the caller's. */
  fence(): void {
    this.bytes.fill(FENCE, 65536);
    this.bytes.fill(FENCE, 0, 4096);
  }

  setPage(page: Uint8Array): void {
    this.bytes.set(page, this.page);
  }

  getPage(): Uint8Array {
    return this.bytes.slice(this.page, this.page + PAGE);
  }

  /** Packs a page; its block, or null. Checks what was written outside. */
  compress(page: Uint8Array, limit: number = PAGE): Uint8Array | null {
    this.bytes.fill(FENCE, this.page + PAGE, this.block + this.blockRoom);
    this.setPage(page);
    const length = this.kernels.lz4Compress(this.page, this.block, limit);
    assert.deepEqual(this.getPage(), page, 'the page is only read');
    this.#intact(this.block + limit + KERNEL_SLACK_BYTES, this.block + this.blockRoom, 'behind');
    this.#intact(this.block - FENCE_BYTES, this.block, 'before the block');
    assert.ok(length >= 0 && length <= limit, `length ${length} within ${limit}`);
    return length === 0 ? null : this.bytes.slice(this.block, this.block + length);
  }

  /** Decompresses a block; returns the page, or null. Checks that nothing was written outside. */
  expand(block: Uint8Array): Uint8Array | null {
    const tail = this.page + PAGE + KERNEL_SLACK_BYTES;
    this.bytes.fill(FENCE, this.page - FENCE_BYTES, this.block);
    this.bytes.set(block, this.block);
    const result = this.kernels.lz4Decompress(this.block, block.length, this.page);
    this.#intact(this.page - FENCE_BYTES, this.page, 'before the page');
    this.#intact(
      tail,
      tail + FENCE_BYTES - KERNEL_SLACK_BYTES - 8,
      'behind the page and its slack',
    );
    this.#intact(0, 4096, "the owner's first page");
    this.bytes.fill(FENCE, this.block, this.block + block.length);
    assert.ok(result === PAGE || result === -1, `result ${result}`);
    return result === PAGE ? this.getPage() : null;
  }

  #intact(from: number, to: number, where: string): void {
    for (let at = from; at < to; at++)
      if (this.bytes[at] !== FENCE) assert.fail(`wrote at ${at - from} ${where}`);
  }
}

/** The seed of a property test: SEED= replays, otherwise `usual`. */
export function seedOf(usual: number): number {
  const seed = process.env['SEED'] === undefined ? usual : Number(process.env['SEED']);
  console.log(`SEED=${seed}`);
  return seed;
}
