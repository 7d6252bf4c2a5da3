/**
 * The filters for pages of numbers in the plainest TypeScript, one bit at a time: the reference that tests compare the
 * kernels with. The header of src/codec/wasm/planes.ts describes the layout.
 */
const PAGE = 4096;

interface Filter {
  /** Bytes of an element. */
  readonly element: 4 | 8;
  readonly isDelta: boolean;
}

/** Index = filter - 1. */
const filters: readonly Filter[] = [
  { element: 4, isDelta: false },
  { element: 8, isDelta: false },
  { element: 4, isDelta: true },
  { element: 8, isDelta: true },
];

export const filterCount: number = filters.length;

function elements(page: Uint8Array, bytes: 4 | 8): bigint[] {
  const view = new DataView(page.buffer, page.byteOffset, PAGE);
  return Array.from({ length: PAGE / bytes }, (_, e) =>
    bytes === 4 ? BigInt(view.getUint32(e * 4, true)) : view.getBigUint64(e * 8, true),
  );
}

/** Visits each bit: its element, its number in the element, and its position in the planes as byte and bit. */
function eachBit(
  bytes: 4 | 8,
  visit: (element: number, bit: number, at: number, placeBit: number) => void,
): void {
  const row = PAGE / bytes;
  for (let e = 0; e < row; e++)
    for (let bit = 0; bit < bytes * 8; bit++) {
      const inChunk = e % 128;
      const at = bit * (row / 8) + Math.floor(e / 128) * 16 + (inChunk % 16);
      visit(e, bit, at, Math.floor(inChunk / 16));
    }
}

export function toPlanes(filter: number, page: Uint8Array): Uint8Array {
  const { element, isDelta } = filters[filter - 1]!;
  const numbers = elements(page, element);
  const laid = numbers.map((n, e) =>
    isDelta ? BigInt.asUintN(element * 8, n - (e === 0 ? 0n : numbers[e - 1]!)) : n,
  );
  const out = new Uint8Array(PAGE);
  eachBit(element, (e, bit, at, placeBit) => {
    if ((laid[e]! >> BigInt(bit)) & 1n) out[at]! |= 1 << placeBit;
  });
  return out;
}

/** Null for an unknown filter. */
export function fromPlanes(filter: number, planes: Uint8Array): Uint8Array | null {
  const found = filters[filter - 1];
  if (found === undefined) return null;
  const { element, isDelta } = found;
  const numbers = new Array<bigint>(PAGE / element).fill(0n);
  eachBit(element, (e, bit, at, placeBit) => {
    if ((planes[at]! >>> placeBit) & 1) numbers[e]! |= 1n << BigInt(bit);
  });
  const page = new Uint8Array(PAGE);
  const view = new DataView(page.buffer);
  let sum = 0n;
  for (const [e, n] of numbers.entries()) {
    sum = isDelta ? BigInt.asUintN(element * 8, sum + n) : n;
    if (element === 4) view.setUint32(e * 4, Number(sum), true);
    else view.setBigUint64(e * 8, sum, true);
  }
  return page;
}

const SAMPLES = 8;
const SAMPLE_BYTES = 64;

function ones(n: bigint): number {
  let count = 0;
  for (let left = n; left !== 0n; left >>= 1n) count += Number(left & 1n);
  return count;
}

/** Bits of x xor x >> 1 that differ between elements of the sample at `at`, per 8 bytes of page. */
function variedBits(page: Uint8Array, at: number, { element, isDelta }: Filter): number {
  const view = new DataView(page.buffer, page.byteOffset, PAGE);
  const read = (from: number): bigint =>
    element === 4 ? BigInt(view.getUint32(from, true)) : view.getBigUint64(from, true);
  let first: bigint | undefined;
  let varied = 0n;
  for (let from = at; from < at + SAMPLE_BYTES; from += element) {
    const value = isDelta
      ? BigInt.asUintN(element * 8, read(from) - read(from - element))
      : read(from);
    const edges = value ^ (value >> 1n);
    first ??= edges;
    varied |= edges ^ first;
  }
  return (ones(varied) * 8) / element;
}

export function pickFilter(page: Uint8Array, most: number): number {
  const sums = filters.map(() => 0);
  for (let n = 0; n < SAMPLES; n++) {
    const at = ((1 + 5 * n) % SAMPLES) * (PAGE / SAMPLES) + 64;
    for (const [i, filter] of filters.entries()) sums[i]! += variedBits(page, at, filter);
    if (n === 1 && Math.min(...sums) > 118) return 0;
  }
  const least = Math.min(...sums);
  return least <= Math.floor((most * SAMPLES * 64) / PAGE) ? sums.indexOf(least) + 1 : 0;
}
