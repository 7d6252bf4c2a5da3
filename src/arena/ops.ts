/**
 * Interfaces that the arena calls. os/ implements the release of memory to the system; store/ updates its rows when
 * compaction moves an object.
 */
import type { LinearMemory } from '../codec/linear-memory.ts';

/** Releases pages of one memory to the system; they read as zeros afterwards (madvise(2), MADV_DONTNEED). */
export interface PageRelease {
  /**
   * @param at first byte, a multiple of 4096
   * @param length bytes, a multiple of 4096
   * @returns false if the system cannot release them: the pages keep their content and stay resident
   */
  release(at: number, length: number): boolean;
  /**
   * Releases several ranges at once. Without this method, release() is called for each.
   * @param ranges position and length of each range, in turns, as for release()
   * @param count number of ranges, 1 .. 512
   * @returns false if the system cannot release all of them; some may be released
   */
  releaseRanges?(ranges: Uint32Array, count: number): boolean;
}

/** Makes a PageRelease for one memory. */
export type PageReleaseFactory = (memory: LinearMemory) => PageRelease;

/** Releases nothing. */
export const noRelease: PageRelease = { release: () => false };

/** For systems without page release: freed pages are reused, but stay resident. */
export const keepPages: PageReleaseFactory = () => noRelease;

/** Called for each object that compaction moves; the owner must store the new location. */
export type ObjectMoved = (owner: number, location: number) => void;
