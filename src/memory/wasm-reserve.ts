/**
 * How far a WebAssembly memory can grow without moving. V8 reserves the address space that a memory could ever have (4
 * GiB, 16 GiB where its addresses have 64 bits), and guard pages around it, so that it need not check addresses;
 * growing makes part of the reserve accessible.
 *
 *   ┊ guard ┊ the memory: rw ┊ reserve: no rights … 4 or 16 GiB ┊ guard ┊
 *
 * The whole reserve is registered once, so that growth, by grow() or by the program's own memory.grow, needs no hook.
 * Where V8 reserves less (bounds checks instead of guards) a memory may move when it grows, and is not adopted.
 *
 * Sources: V8, src/objects/backing-store.cc (AllocateWasmMemory, guard regions), src/wasm/wasm-limits.h; WebAssembly
 * JavaScript Interface, AddressValueToU64.
 */
import { SwapError } from '../base/errors.ts';
import { privateBytesFrom } from '../os/linux/proc-maps.ts';

/** A `WebAssembly.Memory`, as far as frontswap uses it. */
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
 * The buffer of a WebAssembly memory of any realm, whatever prototype it has.
 * @throws TypeError: it is none
 */
export function wasmBuffer(memory: object): ArrayBuffer | SharedArrayBuffer {
  return Reflect.apply(bufferGetter, memory, []);
}

/**
 * Whether the memory's addresses have 64 bits (Memory64). A delta that is no number is refused by both kinds, and
 * changes neither: by ToBigInt() with a SyntaxError, by ToNumber() and its range with a TypeError.
 */
function isMemory64(memory: WasmMemory): boolean {
  try {
    Reflect.apply(growMethod, memory, ['not a number']);
  } catch (error) {
    return error instanceof SyntaxError;
  }
  return false;
}

/** Bytes from the memory's base on that are its own. @throws SwapError ERR_IO_UNSUPPORTED */
export function wasmReserve(memory: WasmMemory, address: number): number {
  const wanted = isMemory64(memory) ? MAX_BYTES_64 : MAX_BYTES_32;
  const usedBytes = wasmBuffer(memory).byteLength;
  const reserve = privateBytesFrom(address);
  if (reserve >= wanted && usedBytes <= wanted && address % 65536 === 0) return wanted;
  throw new SwapError(
    'ERR_IO_UNSUPPORTED',
    `this memory of ${usedBytes} bytes has ${reserve} bytes of address space, not ${wanted / GIB} GiB: it may move when it grows (is Node running with --no-wasm-trap-handler?)`,
    { reason: 'reserve', reserve, usedBytes },
  );
}
