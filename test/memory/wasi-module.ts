/** A WebAssembly module that shows WASI's functions as they were given to it, and a memory of 32 pages. */
import type { Memory } from './wasm-api.ts';

export interface WasiExports {
  readonly memory: Memory;
  fd_write(fd: number, vector: number, count: number, done: number): number;
  fd_read(fd: number, vector: number, count: number, done: number): number;
  fd_pwrite(fd: number, vector: number, count: number, at: bigint, done: number): number;
  fd_pread(fd: number, vector: number, count: number, at: bigint, done: number): number;
  random_get(address: number, length: number): number;
}

const I32 = 0x7f;
const I64 = 0x7e;
const types = [
  [I32, I32, I32, I32],
  [I32, I32, I32, I64, I32],
  [I32, I32],
];
const functions: readonly (readonly [string, number])[] = [
  ['fd_write', 0],
  ['fd_read', 0],
  ['fd_pwrite', 1],
  ['fd_pread', 1],
  ['random_get', 2],
];

const text = (value: string): number[] => [value.length, ...Buffer.from(value)];
const list = (items: readonly (readonly number[])[]): number[] => [items.length, ...items.flat()];

/** Every length here is below 128 but the sections', which are LEB128 of two bytes. */
function section(id: number, content: readonly number[]): number[] {
  return [id, (content.length & 0x7f) | 0x80, content.length >> 7, ...content];
}

export function moduleOfWasi(): Uint8Array {
  const imports = functions.map(([name, type]) => [
    ...text('wasi_snapshot_preview1'),
    ...text(name),
    0,
    type,
  ]);
  const exports = functions.map(([name], index) => [...text(name), 0, index]);
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(
      1,
      list(types.map((parameters) => [0x60, ...list(parameters.map((p) => [p])), 1, I32])),
    ),
    ...section(2, list(imports)),
    ...section(5, list([[0, 32]])),
    ...section(7, list([...exports, [...text('memory'), 2, 0]])),
  ]);
}
