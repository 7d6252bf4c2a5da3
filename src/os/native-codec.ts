/**
 * Codecs of the system's libraries, through the foreign function interface. Optional: where a library or koffi is missing
 * the answer is null and a reason.
 *
 *   lz4-native   liblz4: the same block format as the kernels' engine, so a store may change engines at any time
 *   zstd         libzstd: a frame a page, about a third shorter than LZ4's block and four to five times as slow; for pages
 *                that nobody asks for (Store.recompress)
 *
 * Addresses go out as `uintptr_t` Numbers: the memory's base plus an offset, the cheapest way through koffi
 * (about 60 ns a call). The base is taken once, since a linear memory never moves.
 *
 * zstd works in two contexts, 0.2 MB together at level 3, made when the library is loaded and shared by all memories of
 * the thread: a call allocates nothing. They live as long as the process.
 *
 * Differences of liblz4 from the kernels' engine, both harmless: blocks differ in bytes, and liblz4 reads a match of
 * offset 0, which the format calls corrupt and the kernels refuse.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type CodecFactory, type PageCodec, PageFormat } from '../codec/codec.ts';
import { type Koffi, loadKoffi } from './koffi.ts';

export interface NativeCodec {
  /** Null when this machine cannot run it. */
  readonly factory: CodecFactory | null;
  /** Why there is none; empty when there is one. */
  readonly reason: string;
}

/**
 * Both libraries ask for a few bytes more than they then write; with these they refuse exactly what is longer than
 * the limit. They lie in the slack behind the target.
 */
const HEADROOM_BYTES = 16;

/** `lz4-native`. @param library file name or path, for the system's loader */
export function loadNativeLz4(library: string = 'liblz4.so.1'): NativeCodec {
  return load('lz4-native', library, (lib) => ({
    format: PageFormat.lz4,
    compress: lib.func('int LZ4_compress_default(uintptr_t, uintptr_t, int, int)'),
    expand: lib.func('int LZ4_decompress_safe(uintptr_t, uintptr_t, int, int)'),
  }));
}

/**
 * `zstd`.
 * @param level 1 .. 19, libzstd's; 3 is where more time stops to save much on pages (docs/adr/0008)
 * @param library file name or path, for the system's loader
 */
export function loadNativeZstd(level = 3, library: string = 'libzstd.so.1'): NativeCodec {
  assert(Number.isInteger(level) && level >= 1 && level <= 19, 'a level of zstd is 1 to 19');
  return load('zstd', library, (lib) => {
    const packer = lib.func('uintptr_t ZSTD_createCCtx()')();
    const reader = lib.func('uintptr_t ZSTD_createDCtx()')();
    if (packer === 0 || reader === 0) throw new Error('it has no memory for its contexts');
    // size_t, but errors are small negative numbers in it.
    const compress = lib.func(
      'int64_t ZSTD_compressCCtx(uintptr_t, uintptr_t, size_t, uintptr_t, size_t, int)',
    );
    const expand = lib.func(
      'int64_t ZSTD_decompressDCtx(uintptr_t, uintptr_t, size_t, uintptr_t, size_t)',
    );
    return {
      format: PageFormat.zstd,
      compress: (source, target, length, room) =>
        compress(packer, target, room, source, length, level),
      expand: (source, target, length, room) => expand(reader, target, room, source, length),
    };
  });
}

/** Source and target are addresses. Bytes made; 0 or below: none. */
type Call = (source: number, target: number, length: number, room: number) => number;

interface Calls {
  readonly format: PageFormat;
  readonly compress: Call;
  readonly expand: Call;
}

function load(
  name: string,
  library: string,
  callsOf: (lib: ReturnType<Koffi['load']>) => Calls,
): NativeCodec {
  const koffi = loadKoffi();
  if (koffi === null) return { factory: null, reason: `${name}: koffi does not load here` };
  try {
    const calls = callsOf(koffi.load(library));
    return {
      factory: (memory) => {
        const bytes = new Uint8Array(memory.buffer);
        const base = Number(koffi.address(bytes));
        assert(Number.isSafeInteger(base), 'an address fits a Number');
        return nativeCodec(name, bytes, base, calls);
      },
      reason: '',
    };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { factory: null, reason: `${name}: cannot use ${library}: ${why}` };
  }
}

/**
 * `bytes` is the whole memory: its length bounds every call, as nothing else does here, and holding it keeps
 * the memory from being collected while there is a codec that knows its address.
 */
function nativeCodec(name: string, bytes: Uint8Array, base: number, calls: Calls): PageCodec {
  const { format, compress, expand } = calls;
  return {
    name,
    format,
    // Addresses are the 32 bits that a kernel takes: above 2 GiB they come as negative numbers.
    compress: (page, out, limit) => {
      const source = page >>> 0;
      const target = out >>> 0;
      assert(source + PAGE_BYTES <= bytes.length, 'the page lies in the memory');
      assert(target + limit + HEADROOM_BYTES <= bytes.length, 'so does the target');
      const length = compress(base + source, base + target, PAGE_BYTES, limit + HEADROOM_BYTES);
      return length > limit || length < 0 ? 0 : length;
    },
    decompress: (from, length, page) => {
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
