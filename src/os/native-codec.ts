/**
 * LZ4 by the system's liblz4, through the foreign function interface: the same block format as the kernels'
 * engine, so a store may change engines at any time. Optional: where the library or koffi is missing the
 * answer is null and a reason.
 *
 * Addresses go out as `uintptr_t` Numbers: the memory's base plus an offset, the cheapest way through koffi
 * (about 60 ns a call). The base is taken once, since a linear memory never moves.
 *
 * Differences from the kernels' engine, both harmless: blocks differ in bytes, and liblz4 reads a match of
 * offset 0, which the format calls corrupt and the kernels refuse.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type CodecFactory, type PageCodec, PageFormat } from '../codec/codec.ts';
import { loadKoffi } from './koffi.ts';

export interface NativeCodec {
  /** Null when this machine cannot run it. */
  readonly factory: CodecFactory | null;
  /** Why there is none; empty when there is one. */
  readonly reason: string;
}

/**
 * liblz4 asks for a few bytes more than it then writes; with these it refuses exactly what is longer than
 * the limit. They lie in the slack behind the target.
 */
const HEADROOM_BYTES = 16;

/** `lz4-native`. @param library file name or path, for the system's loader */
export function loadNativeLz4(library: string = 'liblz4.so.1'): NativeCodec {
  const koffi = loadKoffi();
  if (koffi === null) return { factory: null, reason: 'lz4-native: koffi does not load here' };
  try {
    const lib = koffi.load(library);
    const compress = lib.func('int LZ4_compress_default(uintptr_t, uintptr_t, int, int)');
    const expand = lib.func('int LZ4_decompress_safe(uintptr_t, uintptr_t, int, int)');
    return {
      factory: (memory) => {
        const bytes = new Uint8Array(memory.buffer);
        const base = Number(koffi.address(bytes));
        assert(Number.isSafeInteger(base), 'an address fits a Number');
        return nativeLz4(bytes, base, compress, expand);
      },
      reason: '',
    };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { factory: null, reason: `lz4-native: cannot use ${library}: ${why}` };
  }
}

type Lz4Call = (source: number, target: number, length: number, room: number) => number;

/**
 * `bytes` is the whole memory: its length bounds every call, as nothing else does here, and holding it keeps
 * the memory from being collected while there is a codec that knows its address.
 */
function nativeLz4(bytes: Uint8Array, base: number, compress: Lz4Call, expand: Lz4Call): PageCodec {
  return {
    name: 'lz4-native',
    format: PageFormat.lz4,
    // Addresses are the 32 bits that a kernel takes: above 2 GiB they come as negative numbers.
    compress: (page, out, limit) => {
      const source = page >>> 0;
      const target = out >>> 0;
      assert(source + PAGE_BYTES <= bytes.length, 'the page lies in the memory');
      assert(target + limit + HEADROOM_BYTES <= bytes.length, 'so does the target');
      const length = compress(base + source, base + target, PAGE_BYTES, limit + HEADROOM_BYTES);
      return length > limit ? 0 : length;
    },
    expand: (from, length, page) => {
      const source = from >>> 0;
      const target = page >>> 0;
      assert(source + length <= bytes.length, 'the block lies in the memory');
      assert(target + PAGE_BYTES <= bytes.length, 'so does the page');
      if (length < 1) return -1;
      const made = expand(base + source, base + target, length, PAGE_BYTES);
      return made === PAGE_BYTES ? PAGE_BYTES : -1;
    },
  };
}
