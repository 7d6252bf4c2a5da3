/**
 * A dense codec for tests, of the format of zstd: a page that repeats its first 48 bytes is stored as those; any other page does
 * not become smaller.
 */
import { type CodecFactory, PageFormat } from '../../src/codec/codec.ts';

const PERIOD = 48;

export const tinyDense: CodecFactory = (memory) => {
  const bytes = new Uint8Array(memory.buffer);
  return {
    name: 'tiny',
    format: PageFormat.zstd,
    compress: (page, out) => {
      for (let i = PERIOD; i < 4096; i++)
        if (bytes[page + i] !== bytes[page + i - PERIOD]) return 0;
      bytes.copyWithin(out, page, page + PERIOD);
      return PERIOD;
    },
    decompress: (from, _length, page) => {
      const start = from >>> 0;
      for (let i = 0; i < 4096; i++) bytes[page + i] = bytes[start + (i % PERIOD)]!;
      return 4096;
    },
  };
};

/** A page that tinyDense makes smaller than LZ4 does. */
export const repeating = (random: Uint8Array): Uint8Array =>
  Uint8Array.from({ length: 4096 }, (_, i) => random[i % PERIOD]!);
