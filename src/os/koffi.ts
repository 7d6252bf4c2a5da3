/** The one place that loads the foreign function interface. */
import { createRequire } from 'node:module';

/** The part of koffi's interface that os/ uses. */
export interface Koffi {
  /** null: the running program itself, with its C library. */
  load(path: string | null): { func(prototype: string): (...args: number[]) => number };
  address(memory: Uint8Array): bigint;
  /** errno of the call before, read right after it. */
  errno(): number;
}

/** koffi, or null where its binary does not load. */
export function loadKoffi(): Koffi | null {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch {
    return null;
  }
}
