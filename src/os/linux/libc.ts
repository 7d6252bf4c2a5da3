/**
 * The C library of this process: its functions as calls on numbers, errno, and the addresses of our memory. Bound here
 * and nowhere else.
 *
 *   bind('int close(int fd)')   a function by its prototype; up to six arguments, all numbers
 *   errno()                     of the last bound function that returned -1
 *   addressOf(bytes)            where a buffer lies
 *
 * errno is copied as soon as a call returns -1. The runtime makes system calls of its own on this thread, whenever it
 * collects garbage or wakes a compiler thread, and those overwrite errno before the next JavaScript function runs.
 *
 * Addresses are `uintptr_t` Numbers: user addresses are below 2^47. Results that may be an address or -1 come as
 * `int64_t`. A bound function allocates nothing but, now and then, the heap number of an argument above 2^31.
 *
 * Cost: 60 to 300 ns a call beside the kernel's own time.
 * Sources: errno(3); __errno_location of glibc and of musl.
 */
import { assert } from '../../base/assert.ts';
import { type Koffi, loadKoffi, type NativeCall } from '../koffi.ts';

const ARGUMENTS_MAX = 6;

let cached: LibC | null | undefined;

/** The C library of this process as this thread calls it; null where there is no FFI, or no Linux. */
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
  /** errno as the C library keeps it for this thread: overwritten by every call that fails, the runtime's as well. */
  readonly #liveErrno: Int32Array;
  #errno = 0;

  constructor(koffi: Koffi) {
    this.#koffi = koffi;
    this.#library = koffi.load(null);
    const address = this.#library.func('uintptr_t __errno_location()')();
    this.#liveErrno = new Int32Array(koffi.view(address, Int32Array.BYTES_PER_ELEMENT));
  }

  /** A function by its C prototype; arguments and result are numbers. Throws where the library has no such function. */
  bind(prototype: string): NativeCall {
    const call = this.#library.func(prototype);
    const arity = prototype.endsWith('()') ? 0 : prototype.split(',').length;
    assert(arity <= ARGUMENTS_MAX, 'a function takes at most six arguments');
    // errno is read in the same expression as the call; a function in between would be time enough to lose it.
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

  /** errno(3) of the last bound function that returned -1; other results leave it alone. */
  errno(): number {
    return this.#errno;
  }

  /** Valid while the caller holds the memory. Neither resizable nor WebAssembly memories move. */
  addressOf(memory: ArrayBufferLike | ArrayBufferView): number {
    const view = ArrayBuffer.isView(memory) ? memory : new Uint8Array(memory);
    const address = Number(this.#koffi.address(view));
    assert(Number.isSafeInteger(address), 'an address fits a Number');
    return address;
  }

  /** An ArrayBuffer over memory that the caller owns. Arguments that are wrong end the process: check them first. */
  view(address: number, bytes: number): ArrayBuffer {
    return this.#koffi.view(address, bytes);
  }

  #returned(result: number, errno: number): number {
    if (result === -1) this.#errno = errno;
    return result;
  }
}
