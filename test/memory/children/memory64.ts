/**
 * A Memory64 that grows past 4 GiB, by grow() and by memory.grow; run plain and under register by memory64.test.ts. It
 * accesses some thousand pages.
 */
interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: bigint): bigint;
}
interface WasmApi {
  readonly Memory: new (limits: { address: 'i64'; initial: bigint; maximum: bigint }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: object,
  ) => { readonly exports: { readonly load: (at: bigint) => number } };
}

const PAGE = 4096;
const GIB = 2 ** 30;
const WASM_PAGE = 65536;
/** Imports memory `a.b`, exports load(i64): i32.load8_u of it. */
const loader =
  '0061736d0100000001060160017e017f020801016101620204010302010007080104' +
  '6c6f616400000a0901070020002d00000b';

const { Memory, Module, Instance } = (globalThis as unknown as { WebAssembly: WasmApi })
  .WebAssembly;
const memory = new Memory({ address: 'i64', initial: 16n, maximum: 81920n });
const { load } = new Instance(new Module(Buffer.from(loader, 'hex')), { a: { b: memory } }).exports;

const contentOf = (at: number): number => (at / PAGE) % 251 || 7;
const touched: number[] = [];

/** Writes `count` pages from `from` on. */
function write(from: number, count: number): void {
  const bytes = new Uint8Array(memory.buffer);
  for (let at = from; at < from + count * PAGE; at += PAGE) {
    bytes[at] = contentOf(at);
    touched.push(at);
  }
}

function growTo(bytes: number): void {
  memory.grow(BigInt(bytes / WASM_PAGE - memory.buffer.byteLength / WASM_PAGE));
}

write(0, 256);
growTo(2 * GIB);
write(GIB, 500);
growTo(4 * GIB);
write(4 * GIB - 100 * PAGE, 100);
growTo(4 * GIB + WASM_PAGE);
write(4 * GIB, 16);
growTo(5 * GIB);
write(4 * GIB + WASM_PAGE, 1000);
write(5 * GIB - 10 * PAGE, 10);

let wrong = 0;
const bytes = new Uint8Array(memory.buffer);
for (const at of touched) {
  if (bytes[at] !== contentOf(at)) wrong++;
  if (load(BigInt(at)) !== contentOf(at)) wrong++;
}
if (bytes[3 * GIB] !== 0 || load(BigInt(4.5 * GIB)) !== 0) wrong++;
let trap = '';
try {
  load(BigInt(5 * GIB));
} catch (error) {
  trap = (error as Error).name;
}
process.stdout.write(`${touched.length} pages, ${wrong} wrong, ${trap}\n`);
