/** Loads the foreign function interface; the only place that does. */
import { createRequire } from 'node:module';

/** The functions of koffi that os/ uses. */
export interface Koffi {
  /** null: the running program, with its C library. */
  load(path: string | null): { func(prototype: string): NativeCall };
  address(memory: ArrayBufferView): bigint;
  /** An ArrayBuffer over foreign memory, which it does not own. Aborts the process if Node cannot hold so many bytes. */
  view(address: number, bytes: number): ArrayBuffer;
}

/** A C function with numbers as arguments and result; addresses are `uintptr_t` below 2^53. */
export type NativeCall = (...args: number[]) => number;

/** koffi, or null if its binary does not load. */
export function loadKoffi(): Koffi | null {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch {
    return null;
  }
}
