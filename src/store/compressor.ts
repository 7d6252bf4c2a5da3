/**
 * A shard's codecs: which one compresses a page, and which one decompresses it.
 *
 *   put         LZ4 ▶ at most LZ4_GOOD_BYTES? ─yes─▶ that block
 *                         └no─▶ filter's estimate at most 5/8 of it? ─no─▶ LZ4's block, or raw if LZ4 refused the page
 *                                     └yes─▶ filter and LZ4: at most 7/8 of it? that block, else as above
 *   recompress  the dense codec
 *
 * Cost: none for a page that LZ4 compresses well; 20 (random bytes) to 80 ns for any other.
 */
import { PAGE_BYTES } from '../base/units.ts';
import { type CodecFactory, type PageCodec, PageFormat } from '../codec/codec.ts';
import { type FilteredCodec, filtered } from '../codec/filtered.ts';
import type { Kernels } from '../codec/kernels.ts';
import type { LinearMemory } from '../codec/linear-memory.ts';
import { COMPRESSED, PAGE_IN, PAGE_OUT } from './image.ts';
import { CounterAt } from './results.ts';

/** A page that compresses to more than this is stored raw: 3/4 of a page, as in zram. */
export const COMPRESSED_BYTES_MAX = 3072;
/** Up to this size, 7/16 of a page, LZ4's block is good enough and no filter is tried. */
const LZ4_GOOD_BYTES = 1792;
/** A filter is tried if its estimate is at most 5/8 of LZ4's block. Its block is kept if it is at most 7/8 of LZ4's. */
const ESTIMATE_EIGHTHS = 5;
const GAIN_EIGHTHS = 7;

export class Compressor {
  readonly dense: PageCodec | null;
  /** Where in the image compress() left the block, and its format. */
  at: number = COMPRESSED;
  format: PageFormat = PageFormat.none;
  readonly #codec: PageCodec;
  readonly #filtered: FilteredCodec | null;
  readonly #counters: Float64Array;

  constructor(
    memory: LinearMemory,
    kernels: Kernels,
    codec: CodecFactory,
    dense: CodecFactory | null,
    counters: Float64Array,
  ) {
    this.#codec = codec(memory, kernels);
    this.#filtered = filtered(this.#codec, memory, kernels);
    this.dense = dense?.(memory, kernels) ?? null;
    this.#counters = counters;
  }

  /** Compresses the page at PAGE_IN to `at`, in `format`. Returns the compressed size; 0 if it exceeds `limit`. */
  compress(limit: number): number {
    const length = this.#codec.compress(PAGE_IN, COMPRESSED, limit);
    this.at = COMPRESSED;
    this.format = this.#codec.format;
    if (length !== 0 && length <= LZ4_GOOD_BYTES) return length;
    const shorter =
      length === 0
        ? this.#filter(limit, limit)
        : this.#filter((length * ESTIMATE_EIGHTHS) >>> 3, (length * GAIN_EIGHTHS) >>> 3);
    return shorter === 0 ? length : shorter;
  }

  /** Decompresses `length` bytes of `format` at `from` to PAGE_OUT; false for a bad block or a format without a codec. */
  decompress(format: PageFormat, from: number, length: number): boolean {
    if (format === this.#codec.format)
      return this.#codec.decompress(from, length, PAGE_OUT) === PAGE_BYTES;
    const codec = format === PageFormat.filtered ? this.#filtered : this.dense;
    if (codec === null || codec.format !== format) return false;
    return codec.decompress(from, length, PAGE_OUT) === PAGE_BYTES;
  }

  /** @param estimateMax highest estimated compressed size for which a filter is tried, bytes */
  #filter(estimateMax: number, limit: number): number {
    const codec = this.#filtered;
    if (codec === null) return 0;
    const filter = codec.pick(PAGE_IN, estimateMax);
    if (filter === 0) return 0;
    const length = codec.compress(filter, PAGE_IN, PAGE_OUT, limit); // PAGE_OUT is idle during a put
    if (length === 0) {
      this.#counters[CounterAt.filterMissed]! += 1;
      return 0;
    }
    this.at = PAGE_OUT;
    this.format = codec.format;
    return length;
  }
}
