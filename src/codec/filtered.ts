/**
 * Pages of numbers, which LZ4 alone hardly packs: a filter lays the page out by bit planes, then LZ4 packs that.
 *
 *   block   the filter's number (1 byte) | an LZ4 block of the filtered page
 *
 * The filters are kernels (codec/wasm/planes.ts), the LZ4 engine is the caller's: engines are as exchangeable as for plain
 * blocks. A block whose filter does not exist, or whose LZ4 block does not hold exactly a page, is -1.
 *
 * Cost: docs/adr/0017-numeric-pages.md. No garbage.
 */

import { type PageCodec, PageFormat } from './codec.ts';
import { type Kernels, PLANES } from './kernels.ts';
import type { LinearMemory } from './linear-memory.ts';

/** Bytes before the LZ4 block. */
const HEADER_BYTES = 1;
/** The least limit that an LZ4 engine takes, and the header. */
const LIMIT_MIN = 16 + HEADER_BYTES;

export interface FilteredCodec {
  readonly format: PageFormat;
  /** The filter to pack the page at `page` with; 0 when none is likely to bring it to `limit` bytes. */
  readonly pick: (page: number, limit: number) => number;
  /** Packs the page at `page` behind that filter to `out`; its bytes, or 0 when longer than `limit`. */
  readonly compress: (filter: number, page: number, out: number, limit: number) => number;
  /** As PageCodec.expand. */
  readonly decompress: (from: number, length: number, page: number) => number;
}

/** Null when `codec` has another format than LZ4. */
export function filtered(
  codec: PageCodec,
  memory: LinearMemory,
  kernels: Kernels,
): FilteredCodec | null {
  if (codec.format !== PageFormat.lz4) return null;
  const bytes = new Uint8Array(memory.buffer);
  return {
    format: PageFormat.filtered,
    pick: (page, limit) => (limit < LIMIT_MIN ? 0 : kernels.pickFilter(page, limit)),
    compress: (filter, page, out, limit) => {
      if (limit < LIMIT_MIN) return 0;
      kernels.toPlanes(filter, page, PLANES);
      const length = codec.compress(PLANES, out + HEADER_BYTES, limit - HEADER_BYTES);
      if (length === 0) return 0;
      bytes[out >>> 0] = filter;
      return length + HEADER_BYTES;
    },
    decompress: (from, length, page) => {
      if (codec.decompress(from + HEADER_BYTES, length - HEADER_BYTES, PLANES) < 0) return -1;
      return kernels.fromPlanes(bytes[from >>> 0]!, PLANES, page);
    },
  };
}
