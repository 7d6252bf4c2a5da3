/**
 * Page codecs: a page in, a block out, and back. A codec works inside one memory (a shard's), on byte
 * addresses; it is marked per stored page by its format, so engines of one format are exchangeable:
 * each reads what the others wrote, though they need not write the same bytes.
 */
import type { Kernels } from './kernels.ts';
import type { LinearMemory } from './linear-memory.ts';

/**
 * What the stored bytes are. Kept in the slot row: 3 bits, never renumbered. `filtered`: a filter's number and an LZ4 block, see
 * filtered.ts.
 */
export const PageFormat = { none: 0, same: 1, raw: 2, lz4: 3, zstd: 4, filtered: 5 } as const;
export type PageFormat = (typeof PageFormat)[keyof typeof PageFormat];

export interface PageCodec {
  /** Engine's name as users see it: `lz4`, `lz4-native`. */
  readonly name: string;
  readonly format: PageFormat;
  /** Packs the page at `page` to `out`; its bytes, or 0 when longer than `limit`. Contract: kernels.lz4Compress. */
  readonly compress: (page: number, out: number, limit: number) => number;
  /** Unpacks [from, from + length) to the page at `page`; 4096, or -1 for a bad block. Contract: kernels.lz4Decompress. */
  readonly decompress: (from: number, length: number, page: number) => number;
}

/** Builds a codec over one memory and the kernels that run in it. os/ has factories of native engines. */
export type CodecFactory = (memory: LinearMemory, kernels: Kernels) => PageCodec;
