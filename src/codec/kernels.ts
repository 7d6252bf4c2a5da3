/**
 * Loads the byte kernels (src/codec/wasm/, AssemblyScript) into a caller's memory.
 * All arguments are 32-bit byte addresses (above 2 GiB negative or not, the kernels see the same bits) and lengths inside that memory, so nothing is copied and nothing
 * crosses a boundary but numbers; a call costs 3 to 10 ns and allocates nothing.
 *
 * Memory map the kernels rely on:
 *   [0, 4096)                     the memory's owner's: a shard keeps its header there
 *   [4096, KERNEL_SCRATCH_BYTES)  the kernels' tables (wasm/index.ts has the map); nobody else writes there
 *   everything above              the caller's; every page, source and target lies there
 * The caller leaves KERNEL_SLACK_BYTES readable behind every source and writable behind every target
 * of lz4Compress and lz4Decompress: both copy 16 bytes at a time and may pass the end by that much.
 * One thread and one instance at a time work in a memory: scratch is not shared.
 */
import { readFileSync } from 'node:fs';
import { compileModule, instantiate, type LinearMemory } from './linear-memory.ts';

/** Bytes at the bottom of a memory that belong to the kernels; pages lie above them. */
export const KERNEL_SCRATCH_BYTES = 65536;
/** Where in that scratch a filtered page lies between filter and codec; the kernels' tables are elsewhere. */
export const PLANES = 24576;
/** Bytes behind a source or target that a kernel may touch. */
export const KERNEL_SLACK_BYTES = 64;

export interface Kernels {
  /** 1 when the page at `page` (8-byte aligned) repeats its first 8 bytes, else 0. */
  readonly sameFilled: (page: number) => number;
  /** Fills the page at `page` with the 8-byte word `high:low`. */
  readonly fill: (page: number, low: number, high: number) => void;
  /**
   * Packs the 4096 bytes at `page` into an LZ4 block at `out` (room: limit + slack).
   * Returns its bytes, 1 .. limit, or 0 exactly when it would be longer than `limit` (16 .. 4096).
   * Same page, same bytes. The page is read once, so another thread may change it meanwhile: the block then
   * holds some mixture of old and new, soundly packed.
   */
  readonly lz4Compress: (page: number, out: number, limit: number) => number;
  /**
   * Unpacks the LZ4 block at [from, from + length) into the 4096 bytes at `page`.
   * Returns 4096, or -1 for any block that is malformed or does not hold exactly a page; the page's
   * content is then undefined. Reads and writes stay within both ranges and their slack, whatever the bytes.
   */
  readonly lz4Decompress: (from: number, length: number, page: number) => number;
  /**
   * Of the filters for pages of numbers (wasm/planes.ts) the one that promises most for the page at `page`: 1 .. 4, or 0 when none
   * promises to pack it to `most` bytes or less. A guess from samples: what it takes is seen by packing.
   *   1 bit planes of 4-byte elements   2 of 8-byte elements   3, 4 the same of each element less the one before it
   */
  readonly pickFilter: (page: number, most: number) => number;
  /** Writes the page at `page`, filtered by `filter` (1 .. 4), to the 4096 bytes at `out`. No overlap. */
  readonly toPlanes: (filter: number, page: number, out: number) => void;
  /** Undoes it: 4096, or -1 for a filter that there is not. All 4096 bytes are the planes of some page. */
  readonly fromPlanes: (filter: number, from: number, page: number) => number;
  /**
   * 32-bit checksum of [from, from + length), any alignment; nothing outside is read. Up to 4096 bytes every
   * single flipped bit changes it, other damage goes unseen once in 2^32. A signed 32-bit number, a
   * small integer in V8.
   */
  readonly checksum: (from: number, length: number, seed: number) => number;
  /** Copies [from, from + length) to `to` (no overlap) and returns checksum(from, length, seed). */
  readonly copyChecksum: (to: number, from: number, length: number, seed: number) => number;
  /** 64-bit content hash of the page at `page`: the low word, signed; the high word is at hashHigh(). */
  readonly hash: (page: number) => number;
  readonly hashHigh: () => number;
  /** 1 when [a, a + length) equals [b, b + length). */
  readonly equal: (a: number, b: number, length: number) => number;
  readonly copy: (to: number, from: number, length: number) => void;
}

let compiled: object | undefined;

/** Instantiates the kernels over `memory`. Compiling happens once a process, each instance costs about 50 us. */
export function loadKernels(memory: LinearMemory): Kernels {
  compiled ??= compileModule(readFileSync(new URL('../codec/kernels.wasm', import.meta.url)));
  const kernels = instantiate(compiled, memory) as Kernels & { readonly init: () => void };
  kernels.init();
  return kernels;
}
