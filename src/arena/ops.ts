/**
 * What the arena needs from whoever is above and around it. Implemented by os/ (giving memory back to the
 * system) and store/ (following an object that compaction moved).
 */
import type { LinearMemory } from '../codec/linear-memory.ts';

/** Gives pages of one memory back to the system; they read as zeros afterwards (madvise(2), MADV_DONTNEED). */
export interface PageRelease {
  /**
   * @param at first byte, a multiple of 4096
   * @param length bytes, a multiple of 4096
   * @returns false when the system cannot: the pages keep their content and their RAM
   */
  release(at: number, length: number): boolean;
}

/** Makes a PageRelease for one memory. */
export type PageReleaseFactory = (memory: LinearMemory) => PageRelease;

/** For systems that cannot take memory back. Freed pages are still reused, they just stay resident. */
export const keepPages: PageReleaseFactory = () => ({ release: () => false });

/** Told when compaction moved an object: its owner's table must point to the new place from now on. */
export type ObjectMoved = (owner: number, location: number) => void;
