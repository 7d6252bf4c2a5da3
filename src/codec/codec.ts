/**
 * Page codecs: compress a page to a block and decompress it. A codec works on byte addresses inside one memory (a
 * shard's). Each stored page records its format. Engines of one format are interchangeable: each decompresses the
 * blocks of the others, but they need not produce the same bytes.
 */
import type { Kernels } from './kernels.ts';
import type { LinearMemory } from './linear-memory.ts';

/**
 * Format of the stored bytes: 3 bits of the slot row, never renumbered. `filtered` is a filter number followed by an
 * LZ4 block; see filtered.ts.
 */
export const PageFormat = { none: 0, same: 1, raw: 2, lz4: 3, zstd: 4, filtered: 5 } as const;
export type PageFormat = (typeof PageFormat)[keyof typeof PageFormat];

/**
 * Compresses and decompresses 4096-byte pages inside one memory. Addresses and lengths are in bytes.
 */
export interface PageCodec {
  /** The engine's name as users see it: `lz4`, `lz4-native`. */
  readonly name: string;
  readonly format: PageFormat;
  /** Compresses the page at `page` to `out`; returns the length, 0 if above `limit`. See Kernels.lz4Compress. */
  readonly compress: (page: number, out: number, limit: number) => number;
  /** Decompresses [from, from + length) to `page`; returns 4096, or -1 if malformed. See Kernels.lz4Decompress. */
  readonly decompress: (from: number, length: number, page: number) => number;
}

/** Creates a codec for one memory and the kernels that run in it. os/native-codec.ts has native engines. */
export type CodecFactory = (memory: LinearMemory, kernels: Kernels) => PageCodec;
