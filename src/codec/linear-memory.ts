/**
 * The part of WebAssembly's JavaScript API that the project uses. It is typed here because the es2023 library lacks it
 * and the dom library would add every browser global.
 * (WebAssembly JavaScript Interface, W3C, "The WebAssembly Namespace".)
 */

/** One linear memory: a page-aligned buffer of at most 4 GiB that never moves. */
export interface LinearMemory {
  readonly buffer: ArrayBuffer;
}

interface Api {
  readonly Memory: new (limits: { initial: number; maximum: number }) => LinearMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: { env: { memory: LinearMemory } },
  ) => { readonly exports: unknown };
}

const api = (globalThis as unknown as { WebAssembly: Api }).WebAssembly;
const WASM_PAGE_BYTES = 65536;

/**
 * Creates a memory of `bytes` (a multiple of 64 KiB, at most 4 GiB) at its final size: it never grows, so views of it
 * stay valid. It reserves only address space; the system allocates a page of RAM at the first write to it.
 */
export function createMemory(bytes: number): LinearMemory {
  const wasmPages = bytes / WASM_PAGE_BYTES;
  return new api.Memory({ initial: wasmPages, maximum: wasmPages });
}

/** Compiles a module; about 2 ms for the kernels. */
export const compileModule = (bytes: Uint8Array): object => new api.Module(bytes);

/** Instantiates a module over `memory`; returns its exports, which the caller types. */
export const instantiate = (module: object, memory: LinearMemory): unknown =>
  new api.Instance(module, { env: { memory } }).exports;
