/**
 * How far a WebAssembly memory can grow without moving. V8 reserves the address space that a 32-bit memory could ever
 * have, and guard pages around it, so that it need not check addresses; growing makes part of the reserve accessible.
 *
 *   ┊ guard ┊ the memory: rw ┊ reserve: no rights … 4 GiB ┊ guard ┊
 *
 * Registering the whole 4 GiB once makes growth, by grow() or by the program's own memory.grow, nobody's business. Where
 * V8 reserves less (bounds checks instead of guards) a memory may move when it grows, and is not adopted.
 *
 * Sources: V8, src/objects/backing-store.cc (AllocateWasmMemory, guard regions).
 */
import { SwapError } from '../base/errors.ts';
import { privateBytesFrom } from '../os/linux/proc-maps.ts';

export interface WasmMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
}

const MEMORY_MAX_BYTES = 2 ** 32;

const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: { prototype: object } } })
  .WebAssembly;
const bufferGetter = Object.getOwnPropertyDescriptor(Memory.prototype, 'buffer')!.get!;

/**
 * The buffer of a WebAssembly memory of any realm, whatever prototype it has.
 * @throws TypeError: it is none
 */
export function wasmBuffer(memory: object): ArrayBuffer | SharedArrayBuffer {
  return Reflect.apply(bufferGetter, memory, []);
}

/** Bytes from the memory's base on that are its own. @throws SwapError ERR_IO_UNSUPPORTED */
export function wasmReserve(address: number, usedBytes: number): number {
  const reserve = privateBytesFrom(address);
  if (reserve >= MEMORY_MAX_BYTES && address % 65536 === 0) return MEMORY_MAX_BYTES;
  throw new SwapError(
    'ERR_IO_UNSUPPORTED',
    `this memory of ${usedBytes} bytes has ${reserve} bytes of address space, not 4 GiB: it may move when it grows (is Node running with --no-wasm-trap-handler?)`,
    { reason: 'reserve', reserve, usedBytes },
  );
}
