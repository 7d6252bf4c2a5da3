/** The one place that loads the foreign function interface. */
import { createRequire } from 'node:module';

/** The part of koffi's interface that os/ uses. */
export interface Koffi {
  /** null: the running program itself, with its C library. */
  load(path: string | null): { func(prototype: string): NativeCall };
  address(memory: ArrayBufferView): bigint;
  /** An ArrayBuffer over memory that stays whose it is. Ends the process when Node cannot hold so many bytes. */
  view(address: number, bytes: number): ArrayBuffer;
}

/** A C function all of whose arguments, and whose result, are numbers; addresses below 2^53 as `uintptr_t`. */
export type NativeCall = (...args: number[]) => number;

/** koffi, or null where its binary does not load. */
export function loadKoffi(): Koffi | null {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch {
    return null;
  }
}
