/**
 * Codecs of system libraries, called through the foreign function interface. They are optional: if a library or koffi is
 * missing, the result is null with a reason.
 *
 *   lz4-native   liblz4: the same block format as the WebAssembly kernels, so a store may change between them at any time
 *   zstd         libzstd: one frame per page, about a third smaller than an LZ4 block and four to five times slower; for
 *                idle pages (Store.recompress)
 *
 * Addresses are passed as `uintptr_t` Numbers, memory base plus offset: the cheapest call through koffi (about 60 ns).
 * The base is read once, since a linear memory never moves.
 *
 * zstd uses two contexts, together 0.2 MB at level 3, created when the library is loaded and shared by all memories of
 * the thread, so a call allocates nothing. They exist until the process ends.
 *
 * liblz4 differs from the WebAssembly kernels in two harmless ways: its blocks have different bytes, and it accepts a match
 * with offset 0, which is corrupt by the format and which the kernels refuse.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type CodecFactory, type PageCodec, PageFormat } from '../codec/codec.ts';
import { type Koffi, loadKoffi } from './koffi.ts';

/** A codec of a system library, or the reason why it cannot be used. */
export interface NativeCodec {
  /** Null if this machine cannot run it. */
  readonly factory: CodecFactory | null;
  /** Why factory is null; empty otherwise. */
  readonly reason: string;
}

/**
 * Both libraries require a few bytes more than they write. With this headroom, in the slack after the target, they refuse
 * exactly the blocks that exceed the limit.
 */
const HEADROOM_BYTES = 16;

/** `lz4-native`. @param library file name or path for the dynamic loader */
export function loadNativeLz4(library: string = 'liblz4.so.1'): NativeCodec {
  return load('lz4-native', library, (lib) => ({
    format: PageFormat.lz4,
    compress: lib.func('int LZ4_compress_default(uintptr_t, uintptr_t, int, int)'),
    decompress: lib.func('int LZ4_decompress_safe(uintptr_t, uintptr_t, int, int)'),
  }));
}

/**
 * `zstd`.
 * @param level of libzstd, 1 .. 19; above 3, pages get hardly smaller (docs/adr/0008)
 * @param library file name or path for the dynamic loader
 */
export function loadNativeZstd(level = 3, library: string = 'libzstd.so.1'): NativeCodec {
  assert(Number.isInteger(level) && level >= 1 && level <= 19, 'level: 1 .. 19');
  return load('zstd', library, (lib) => {
    const compressor = lib.func('uintptr_t ZSTD_createCCtx()')();
    const decompressor = lib.func('uintptr_t ZSTD_createDCtx()')();
    if (compressor === 0 || decompressor === 0) throw new Error('out of memory for its contexts');
    // The result is a size_t; errors are small negative numbers.
    const compress = lib.func(
      'int64_t ZSTD_compressCCtx(uintptr_t, uintptr_t, size_t, uintptr_t, size_t, int)',
    );
    const decompress = lib.func(
      'int64_t ZSTD_decompressDCtx(uintptr_t, uintptr_t, size_t, uintptr_t, size_t)',
    );
    return {
      format: PageFormat.zstd,
      compress: (source, target, length, limit) =>
        compress(compressor, target, limit, source, length, level),
      decompress: (source, target, length, limit) =>
        decompress(decompressor, target, limit, source, length),
    };
  });
}

/** Source and target are addresses. Returns the bytes written; 0 or less: failed. */
type Call = (source: number, target: number, length: number, limit: number) => number;

interface Calls {
  readonly format: PageFormat;
  readonly compress: Call;
  readonly decompress: Call;
}

function load(
  name: string,
  library: string,
  callsOf: (lib: ReturnType<Koffi['load']>) => Calls,
): NativeCodec {
  const koffi = loadKoffi();
  if (koffi === null)
    return { factory: null, reason: `${name}: koffi does not load on this machine` };
  try {
    const calls = callsOf(koffi.load(library));
    return {
      factory: (memory) => {
        const bytes = new Uint8Array(memory.buffer);
        const base = Number(koffi.address(bytes));
        assert(Number.isSafeInteger(base), 'base < 2^53');
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
 * `bytes` is the entire memory: its length limits every call, and the reference keeps the memory from being collected while the
 * codec uses its address.
 */
function nativeCodec(name: string, bytes: Uint8Array, base: number, calls: Calls): PageCodec {
  const { format, compress, decompress } = calls;
  return {
    name,
    format,
    // Positions are signed 32 bits, as for the WebAssembly kernels: negative above 2 GiB.
    compress: (page, out, limit) => {
      const source = page >>> 0;
      const target = out >>> 0;
      assert(source + PAGE_BYTES <= bytes.length, 'the page is inside the memory');
      assert(target + limit + HEADROOM_BYTES <= bytes.length, 'the target is inside the memory');
      const length = compress(base + source, base + target, PAGE_BYTES, limit + HEADROOM_BYTES);
      return length > limit || length < 0 ? 0 : length;
    },
    decompress: (from, length, page) => {
      const source = from >>> 0;
      const target = page >>> 0;
      assert(source + length <= bytes.length, 'the block is inside the memory');
      assert(target + PAGE_BYTES <= bytes.length, 'the page is inside the memory');
      if (length < 1) return -1;
      const written = decompress(base + source, base + target, length, PAGE_BYTES);
      return written === PAGE_BYTES ? PAGE_BYTES : -1;
    },
  };
}
