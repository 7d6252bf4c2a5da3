/**
 * The part of WebAssembly's JavaScript API that this house uses, typed here because the es2023 library has
 * none of it and the dom library would bring every browser global along.
 * (WebAssembly JavaScript Interface, W3C, "The WebAssembly Namespace".)
 */

/** One linear memory: a page-aligned buffer that does not move, at most 4 GiB. */
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
 * A memory of `bytes` (a multiple of 64 KiB, at most 4 GiB) at its final size: it never grows, so views of it
 * stay good. Address space only; the system gives a page of RAM when it is first written.
 */
export function createMemory(bytes: number): LinearMemory {
  const wasmPages = bytes / WASM_PAGE_BYTES;
  return new api.Memory({ initial: wasmPages, maximum: wasmPages });
}

/** Compiles a module; about 2 ms for the kernels. */
export const compileModule = (bytes: Uint8Array): object => new api.Module(bytes);

/** Instantiates a module over `memory`; its exports, which the caller types. */
export const instantiate = (module: object, memory: LinearMemory): unknown =>
  new api.Instance(module, { env: { memory } }).exports;
