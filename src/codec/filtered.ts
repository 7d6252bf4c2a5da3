/**
 * Pages of numbers, which LZ4 alone compresses poorly: a filter rearranges the page into bit planes for LZ4.
 *
 *   block   the filter's number (1 byte) | an LZ4 block of the filtered page
 *
 * The filters are kernels (codec/wasm/planes.ts); the caller passes the LZ4 engine. Engines are interchangeable, as
 * for plain blocks. A block with an unknown filter, or that does not decompress to exactly 4096 bytes, returns -1.
 *
 * Cost: docs/adr/0017-numeric-pages.md. Allocates nothing.
 */

import { type PageCodec, PageFormat } from './codec.ts';
import { type Kernels, PLANES } from './kernels.ts';
import type { LinearMemory } from './linear-memory.ts';

/** Bytes before the LZ4 block. */
const HEADER_BYTES = 1;
/** The lowest limit that an LZ4 engine accepts, plus the header. */
const LIMIT_MIN = 16 + HEADER_BYTES;

export interface FilteredCodec {
  readonly format: PageFormat;
  /** The filter with which to compress the page at `page`; 0 if none is likely to reach `limit` bytes. */
  readonly pick: (page: number, limit: number) => number;
  /** Compresses the page at `page` with that filter to `out`; returns the length, 0 if above `limit`. */
  readonly compress: (filter: number, page: number, out: number, limit: number) => number;
  /** Like PageCodec.decompress. */
  readonly decompress: (from: number, length: number, page: number) => number;
}

/** Null if the format of `codec` is not LZ4. */
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
