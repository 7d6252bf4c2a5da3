/**
 * Loads the foreign function interface (FFI). No other file imports koffi.
 *
 * To select its binary, the package parses the headers of Node's executable, which costs 4 ms and 1 MB per thread. If
 * the binary is in its usual location and the C library is glibc, this file loads it directly.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

/** The functions of koffi that os/ uses. */
export interface Koffi {
  /** null: the running program, with its C library. */
  load(path: string | null): { func(prototype: string): NativeCall };
  address(memory: ArrayBufferView): bigint;
  /** An ArrayBuffer over foreign memory that it does not own. Aborts the process if Node does not support that many bytes. */
  view(address: number, bytes: number): ArrayBuffer;
}

/** A C function with numbers as arguments and result; addresses are `uintptr_t` below 2^53. */
export type NativeCall = (...args: number[]) => number;

/** The dynamic loader of musl, by architecture. */
const muslLoaders: Readonly<Record<string, string>> = {
  x64: '/lib/ld-musl-x86_64.so.1',
  arm64: '/lib/ld-musl-aarch64.so.1',
};

/** koffi, or null if its binary does not load. */
export function loadKoffi(): Koffi | null {
  const require = createRequire(import.meta.url);
  return attempt(() => loadBinary(require)) ?? attempt(() => require('koffi') as Koffi);
}

function loadBinary(require: NodeJS.Require): Koffi | null {
  const { platform, arch } = process;
  const musl = muslLoaders[arch];
  if (platform !== 'linux' || musl === undefined || existsSync(musl)) return null;
  const fromKoffi = createRequire(require.resolve('koffi'));
  return fromKoffi(`@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node`) as Koffi;
}

function attempt<Result>(body: () => Result): Result | null {
  try {
    return body();
  } catch {
    return null;
  }
}
