/**
 * Finds how far a WebAssembly memory can grow without moving. V8 reserves address space for the largest possible memory (4 GiB,
 * or 16 GiB with 64-bit addresses), with guard pages around it, so that it need not check addresses. Growing makes a part of
 * the reserve accessible.
 *
 *   ┊ guard ┊ the memory: rw ┊ reserve: PROT_NONE … 4 or 16 GiB ┊ guard ┊
 *
 * The complete reserve is registered once, so growth needs no hook, neither for grow() nor for the instruction memory.grow. If
 * V8 reserves less (with bounds checks instead of guards), the memory may move when it grows and cannot be adopted.
 *
 * Sources: V8, src/objects/backing-store.cc (AllocateWasmMemory, guard regions), src/wasm/wasm-limits.h; WebAssembly
 * JavaScript Interface, AddressValueToU64.
 */
import { SwapError } from '../base/errors.ts';
import { privateBytesFrom } from '../os/linux/proc-maps.ts';

/** The part of a `WebAssembly.Memory` that frontswap uses. */
export interface WasmMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
}

const MAX_BYTES_32 = 2 ** 32;
const MAX_BYTES_64 = 2 ** 34;
const GIB = 2 ** 30;

const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: { prototype: object } } })
  .WebAssembly;
const bufferGetter = Object.getOwnPropertyDescriptor(Memory.prototype, 'buffer')!.get!;
const growMethod = Object.getOwnPropertyDescriptor(Memory.prototype, 'grow')!.value as () => void;

/**
 * Returns the buffer of a WebAssembly memory of any realm, with any prototype.
 * @throws TypeError: not a WebAssembly memory
 */
export function wasmBuffer(memory: object): ArrayBuffer | SharedArrayBuffer {
  return Reflect.apply(bufferGetter, memory, []);
}

/**
 * Whether the memory has 64-bit addresses (Memory64). Both kinds refuse a delta that is not a number, without effect: a
 * 64-bit memory with the SyntaxError of ToBigInt(), a 32-bit one with a TypeError.
 */
function isMemory64(memory: WasmMemory): boolean {
  try {
    Reflect.apply(growMethod, memory, ['not a number']);
  } catch (error) {
    return error instanceof SyntaxError;
  }
  return false;
}

/** Returns the bytes of the memory's reserve, the memory included. @throws SwapError ERR_IO_UNSUPPORTED: it may move */
export function wasmReserve(memory: WasmMemory, address: number): number {
  const required = isMemory64(memory) ? MAX_BYTES_64 : MAX_BYTES_32;
  const usedBytes = wasmBuffer(memory).byteLength;
  const reserve = privateBytesFrom(address);
  if (reserve >= required && usedBytes <= required && address % 65536 === 0) return required;
  throw new SwapError(
    'ERR_IO_UNSUPPORTED',
    `this memory of ${usedBytes} bytes has ${reserve} bytes of address space instead of ${required / GIB} GiB, so it may move when it grows; run Node without --no-wasm-trap-handler`,
    { reason: 'reserve', reserve, usedBytes },
  );
}
