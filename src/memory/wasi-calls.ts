/**
 * Wraps WASI's functions. Their system calls access the memory of a module, and may fail with EFAULT on paged memory
 * (system-calls.ts). The functions are wrapped before an instance is linked to them. A call that returned EFAULT had no effect.
 * The wrapper repeats the call with its first 64 KiB pinned and returns a short count; the module then continues, as with any
 * file.
 *
 * If a program copies the functions (`{ ...wasi.wasiImport }`), the copies are wrapped, too, unless they are frozen.
 *
 * Invariant: when a call returns, the module's vector has the contents that the module wrote.
 * Sources: wasi_snapshot_preview1 (fd_write, iovec); lib/wasi.js and src/node_wasi.cc of Node.
 */
import { types } from 'node:util';
import { isReplaceable, isWrapper, wrapFunction } from './platform-wrapper.ts';
import type { SwapRegion } from './region.ts';
import { type WasmMemory, wasmBuffer } from './wasm-reserve.ts';

type Native = (...args: unknown[]) => unknown;
type RegionOf = (memory: WasmMemory) => SwapRegion | null;

/** Calls with a vector of (address, length) as the second argument, and its count as the third. */
const vectorCalls = ['fd_write', 'fd_pwrite', 'fd_read', 'fd_pread', 'sock_send', 'sock_recv'];
const moduleNames = ['wasi_snapshot_preview1', 'wasi_unstable'];
/** errno of wasi_snapshot_preview1. */
const EFAULT = 21;
const SUCCESS = 0;
/** Bytes pinned per call; the smallest resident budget allows more. */
const PIECE_BYTES = 65_536;
const VECTOR_BYTES = 8;

export class WasiCalls {
  readonly #regionOf: RegionOf;
  /** The memory that the functions of an import object access. */
  readonly #memories = new WeakMap<object, WasmMemory>();
  readonly #known = new WeakSet<object>();

  constructor(regionOf: RegionOf) {
    this.#regionOf = regionOf;
  }

  /** Wraps the WASI functions among the imports. Called before the instance is created. */
  link(imports: unknown): void {
    for (const calls of wasiOf(imports)) {
      if (this.#known.has(calls)) continue;
      this.#known.add(calls);
      for (const name of vectorCalls) this.#wrap(calls, name, this.#onVector);
      this.#wrap(calls, 'random_get', this.#onBytes);
    }
  }

  /** Records the memory of an instance that was created with the imports. */
  use(imports: unknown, memory: WasmMemory): void {
    for (const calls of wasiOf(imports)) this.#memories.set(calls, memory);
  }

  #wrap(
    calls: Record<string, unknown>,
    name: string,
    retry: (native: Native, args: unknown[], memory: WasmMemory) => unknown,
  ): void {
    const native = nativeOf(calls, name);
    if (native === null) return;
    calls[name] = wrapFunction(native, (to, self, args) => {
      const errno = Reflect.apply(to, self, args);
      const memory = errno === EFAULT ? this.#memories.get(calls) : undefined;
      if (memory === undefined) return errno;
      return retry((...all) => Reflect.apply(to, self, all), [...args], memory);
    });
  }

  readonly #onVector = (native: Native, args: unknown[], memory: WasmMemory): unknown => {
    const region = this.#regionOf(memory);
    const buffer = wasmBuffer(memory);
    const at = firstWithBytes(buffer, Number(args[1]) >>> 0, Number(args[2]) >>> 0);
    if (region === null || at === -1) return EFAULT;
    const vector = new DataView(buffer, at, VECTOR_BYTES);
    const offset = vector.getUint32(0, true);
    const length = vector.getUint32(4, true);
    if (offset + length > buffer.byteLength) return EFAULT;
    const piece = Math.min(length, PIECE_BYTES);
    using _pinned = pin(region, offset, piece);
    vector.setUint32(4, piece, true);
    try {
      return native(args[0], at, 1, ...args.slice(3));
    } finally {
      vector.setUint32(4, length, true);
    }
  };

  readonly #onBytes = (native: Native, args: unknown[], memory: WasmMemory): unknown => {
    const region = this.#regionOf(memory);
    const [offset, length] = [Number(args[0]) >>> 0, Number(args[1]) >>> 0];
    if (region === null || offset + length > wasmBuffer(memory).byteLength) return EFAULT;
    for (let done = 0; done < length; ) {
      const piece = Math.min(length - done, PIECE_BYTES);
      using _pinned = pin(region, offset + done, piece);
      const errno = native(offset + done, piece);
      if (errno !== SUCCESS) return errno;
      done += piece;
    }
    return SUCCESS;
  };
}

/** Address of the first of `count` entries with a length above 0, or -1. A C library's first entry is often empty. */
function firstWithBytes(buffer: ArrayBufferLike, vector: number, count: number): number {
  const view = new DataView(buffer);
  const most = Math.min(count, Math.floor((buffer.byteLength - vector) / VECTOR_BYTES));
  for (let i = 0; i < most; i++) {
    const at = vector + i * VECTOR_BYTES;
    if (view.getUint32(at + 4, true) !== 0) return at;
  }
  return -1;
}

const pin = (region: SwapRegion, offset: number, length: number): Disposable =>
  region.pin({ offset, length });

/** Node's function in the import object or in a copy of it. Null: the property is the program's own function, or a wrapper. */
function nativeOf(calls: object, name: string): Native | null {
  if (!isReplaceable(calls, name)) return null;
  const value = Object.getOwnPropertyDescriptor(calls, name)!.value as unknown;
  if (typeof value !== 'function' || types.isProxy(value) || isWrapper(value)) return null;
  return value.name === `bound ${name}` ? (value as Native) : null;
}

/**
 * Finds WASI's import objects, and copies of them, among the imports of an instance. Skips Proxies and instances of the
 * program's classes.
 */
function wasiOf(imports: unknown): Record<string, unknown>[] {
  if (typeof imports !== 'object' || imports === null || types.isProxy(imports)) return [];
  const found: Record<string, unknown>[] = [];
  for (const name of moduleNames) {
    const value = Object.getOwnPropertyDescriptor(imports, name)?.value as unknown;
    if (typeof value !== 'object' || value === null || types.isProxy(value)) continue;
    const prototype = Object.getPrototypeOf(value) as { constructor?: { name?: unknown } } | null;
    const isCopy = prototype === null || prototype === Object.prototype;
    if (isCopy || prototype?.constructor?.name === 'WASI')
      found.push(value as Record<string, unknown>);
  }
  return found;
}
