/**
 * Loads the byte kernels (src/codec/wasm/, AssemblyScript) into a caller's memory.
 * All arguments are 32-bit byte addresses and lengths inside that memory (an address above 2 GiB may be passed as a
 * negative number: the bits are the same). Only numbers cross the boundary and nothing is copied; a call costs 3 to
 * 10 ns and allocates nothing.
 *
 * Memory map the kernels rely on:
 *   [0, 4096)                     owned by the memory's owner: a shard stores its header there
 *   [4096, KERNEL_SCRATCH_BYTES)  the kernels' tables (wasm/index.ts has the map); only kernels write there
 *   everything above              owned by the caller: all pages, sources and targets
 * KERNEL_SLACK_BYTES must be readable after every source and writable after every target of lz4Compress and
 * lz4Decompress: both copy 16 bytes at a time and may overrun the end by that much.
 * Only one thread and one instance at a time may use a memory, as they would share the scratch area.
 */
import { readFileSync } from 'node:fs';
import { compileModule, instantiate, type LinearMemory } from './linear-memory.ts';

/** Bytes at the bottom of a memory that belong to the kernels; pages start above them. */
export const KERNEL_SCRATCH_BYTES = 32768;
/** Scratch address of the filtered page that the filter passes to the codec; no kernel table overlaps it. */
export const PLANES = 24576;
/** Bytes after a source or target that a kernel may access. */
export const KERNEL_SLACK_BYTES = 64;

export interface Kernels {
  /** 1 if the page at `page` (8-byte aligned) repeats its first 8 bytes, else 0. */
  readonly sameFilled: (page: number) => number;
  /** Fills the page at `page` with the 8-byte word `high:low`. */
  readonly fill: (page: number, low: number, high: number) => void;
  /**
   * Compresses the 4096 bytes at `page` to an LZ4 block at `out` (space needed: limit + slack).
   * Returns the block's length, 1 .. limit; or 0 if, and only if, it would exceed `limit` (16 .. 4096).
   * Deterministic. The page is read once; if another thread changes it meanwhile, the result is a valid block with a
   * mixture of old and new bytes.
   */
  readonly lz4Compress: (page: number, out: number, limit: number) => number;
  /**
   * Decompresses the LZ4 block at [from, from + length) to the 4096 bytes at `page`.
   * Returns 4096, or -1 if the block is malformed or does not decompress to exactly 4096 bytes; the contents of the
   * page are then undefined. Never reads or writes outside both ranges and their slack, for any input.
   */
  readonly lz4Decompress: (from: number, length: number, page: number) => number;
  /**
   * Returns the filter for pages of numbers (wasm/planes.ts) with which the page is likely to compress best, 1 .. 4,
   * or 0 if none is likely to reach `limit` bytes. An estimate from samples.
   *   1 bit planes of 4-byte elements   2 of 8-byte elements   3, 4 the same of each element minus its predecessor
   */
  readonly pickFilter: (page: number, limit: number) => number;
  /** Filters the page at `page` with `filter` (1 .. 4) to the 4096 bytes at `out`. They must not overlap. */
  readonly toPlanes: (filter: number, page: number, out: number) => void;
  /** Inverse of toPlanes(): returns 4096, or -1 if the filter is unknown. Any 4096 bytes are valid input. */
  readonly fromPlanes: (filter: number, from: number, page: number) => number;
  /**
   * 32-bit checksum of [from, from + length), any alignment; reads nothing else. For up to 4096 bytes it detects every
   * single flipped bit, and misses other damage once in 2^32. A signed 32-bit number, which V8 keeps as a small
   * integer.
   */
  readonly checksum: (from: number, length: number, seed: number) => number;
  /** Copies [from, from + length) to `to` (no overlap) and returns checksum(from, length, seed). */
  readonly copyChecksum: (to: number, from: number, length: number, seed: number) => number;
  /** 64-bit content hash of the page at `page`: the low word, signed; the high word is at hashHigh(). */
  readonly hash: (page: number) => number;
  readonly hashHigh: () => number;
  /** 1 if [a, a + length) equals [b, b + length). */
  readonly equal: (a: number, b: number, length: number) => number;
  readonly copy: (to: number, from: number, length: number) => void;
}

let compiled: object | undefined;

/** Instantiates the kernels over `memory`. Compiles once per process; an instance costs about 50 us. */
export function loadKernels(memory: LinearMemory): Kernels {
  compiled ??= compileModule(readFileSync(new URL('../codec/kernels.wasm', import.meta.url)));
  const kernels = instantiate(compiled, memory) as Kernels & { readonly init: () => void };
  kernels.init();
  return kernels;
}
