/**
 * The C library of this process: binds its functions, errno, and the addresses of buffers. C functions are bound only
 * here.
 *
 *   bind('int close(int fd)')   a function by its prototype; up to six arguments, all numbers
 *   errno()                     errno of the last bound function that returned -1
 *   addressOf(bytes)            the address of a buffer
 *
 * errno is copied as soon as a call returns -1. When the runtime collects garbage or wakes a compiler thread, it makes system
 * calls on this thread, and they overwrite errno before the next JavaScript function runs.
 *
 * Addresses are `uintptr_t` Numbers: user addresses are below 2^47. Results that are an address or -1 are declared `int64_t`.
 * The only allocation of a bound function is, at times, the heap number of an argument above 2^31.
 *
 * Cost: 60 to 300 ns per call, plus the time in the kernel.
 * Sources: errno(3); __errno_location of glibc and of musl.
 */
import { assert } from '../../base/assert.ts';
import { type Koffi, loadKoffi, type NativeCall } from '../koffi.ts';

const ARGUMENTS_MAX = 6;

let cached: LibC | null | undefined;

/** The C library for calls from this thread; null without FFI or outside Linux. */
export function loadLibC(platform: NodeJS.Platform = process.platform): LibC | null {
  if (platform !== 'linux') return null;
  if (cached === undefined) {
    const koffi = loadKoffi();
    cached = koffi === null ? null : new LibC(koffi);
  }
  return cached;
}

export class LibC {
  readonly #koffi: Koffi;
  readonly #library: ReturnType<Koffi['load']>;
  /** The errno of this thread in the C library: every failing call overwrites it, including calls of the runtime. */
  readonly #liveErrno: Int32Array;
  #errno = 0;

  constructor(koffi: Koffi) {
    this.#koffi = koffi;
    this.#library = koffi.load(null);
    const address = this.#library.func('uintptr_t __errno_location()')();
    this.#liveErrno = new Int32Array(koffi.view(address, Int32Array.BYTES_PER_ELEMENT));
  }

  /**
   * Binds a function by its C prototype; arguments and result are numbers. Throws if the library lacks the function.
   */
  bind(prototype: string): NativeCall {
    const call = this.#library.func(prototype);
    const arity = prototype.endsWith('()') ? 0 : prototype.split(',').length;
    assert(arity <= ARGUMENTS_MAX, 'arguments <= 6');
    // Read errno in the same expression as the call: a function call in between could overwrite it.
    const live = this.#liveErrno;
    const fixed: NativeCall[] = [
      () => this.#returned(call(), live[0]!),
      (a) => this.#returned(call(a!), live[0]!),
      (a, b) => this.#returned(call(a!, b!), live[0]!),
      (a, b, c) => this.#returned(call(a!, b!, c!), live[0]!),
      (a, b, c, d) => this.#returned(call(a!, b!, c!, d!), live[0]!),
      (a, b, c, d, e) => this.#returned(call(a!, b!, c!, d!, e!), live[0]!),
      (a, b, c, d, e, f) => this.#returned(call(a!, b!, c!, d!, e!, f!), live[0]!),
    ];
    return fixed[arity]!;
  }

  /** errno(3) of the last bound function that returned -1; other results do not change it. */
  errno(): number {
    return this.#errno;
  }

  /** Valid while the caller references the memory. Resizable and WebAssembly memories do not move. */
  addressOf(memory: ArrayBufferLike | ArrayBufferView): number {
    const view = ArrayBuffer.isView(memory) ? memory : new Uint8Array(memory);
    const address = Number(this.#koffi.address(view));
    assert(Number.isSafeInteger(address), 'address < 2^53');
    return address;
  }

  /** An ArrayBuffer over memory of the caller. Wrong arguments abort the process, so check them first. */
  view(address: number, bytes: number): ArrayBuffer {
    return this.#koffi.view(address, bytes);
  }

  #returned(result: number, errno: number): number {
    if (result === -1) this.#errno = errno;
    return result;
  }
}
