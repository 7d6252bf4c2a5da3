/**
 * `WebAssembly.Memory.prototype.discard(offset, length)`, as the memory control proposal describes it: the range reads as
 * zeros, and its RAM is freed. For memory that is not paged, it writes zeros and frees no RAM.
 *
 * Source: https://github.com/WebAssembly/memory-control (memory.discard): offset and length are multiples of the
 * WebAssembly page size.
 */
import type { SwapRegion } from './region.ts';
import { type WasmMemory, wasmBuffer } from './wasm-reserve.ts';

const WASM_PAGE_BYTES = 65_536;

/** Adds the method unless this Node already has it. @param regionOf returns the region of a memory; null: it is not paged */
export function addDiscard(regionOf: (memory: WasmMemory) => SwapRegion | null): void {
  const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: { prototype: object } } })
    .WebAssembly;
  if ('discard' in Memory.prototype) return;
  const methods = {
    discard(this: WasmMemory, offset: number | bigint, length: number | bigint): void {
      const buffer = wasmBuffer(this);
      const range = { offset: toPages(offset), length: toPages(length) };
      if (range.offset + range.length > buffer.byteLength)
        throw new RangeError(
          `discard(): bytes ${range.offset} .. ${range.offset + range.length} are outside the memory of ${buffer.byteLength} bytes`,
        );
      const region = regionOf(this);
      if (region === null) new Uint8Array(buffer, range.offset, range.length).fill(0);
      else region.discard(range);
    },
  };
  Object.defineProperty(Memory.prototype, 'discard', {
    value: methods.discard,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

function toPages(value: number | bigint): number {
  const bytes = Number(value);
  if (Number.isSafeInteger(bytes) && bytes >= 0 && bytes % WASM_PAGE_BYTES === 0) return bytes;
  throw new RangeError(`discard(): ${String(value)} is not a multiple of ${WASM_PAGE_BYTES}`);
}
