/**
 * The classes of the memory interface as a program sees them: type-checked and run against the installed package by
 * scripts/test-tarball.mjs, where the code is in bundles. A wrong type does not compile.
 */
import assert from 'node:assert/strict';
import { MemorySwap, openSwap, PagedArray, regionOf, SwapRegion } from 'frontswap';

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Equal<A, B>): void => {};

const kiB = 1024;
const options = { bytes: 64 * kiB, residentBytes: 128 * kiB };

function checkRegions(swap: MemorySwap): void {
  using plain = swap.map(options);
  using unshared = swap.map({ ...options, shared: false });
  using shared = swap.map({ ...options, shared: true });
  using either = swap.map({ ...options, shared: options.bytes > 1 });
  same<typeof plain.buffer, ArrayBuffer>(true);
  same<typeof unshared.buffer, ArrayBuffer>(true);
  same<typeof shared.buffer, SharedArrayBuffer>(true);
  same<typeof either.buffer, ArrayBuffer | SharedArrayBuffer>(true);
  const numbers: Float64Array<ArrayBuffer> = new Float64Array(plain.buffer);
  numbers[0] = 1;
  assert.deepEqual(
    [plain, unshared, shared, either].map(({ buffer }) => buffer.constructor.name),
    ['ArrayBuffer', 'ArrayBuffer', 'SharedArrayBuffer', 'SharedArrayBuffer'],
  );
  assert.ok(plain instanceof SwapRegion && shared instanceof SwapRegion);
}

interface OwnMemory {
  readonly buffer: ArrayBuffer;
}

function typesOfAdopt(swap: MemorySwap, memory: OwnMemory): void {
  const adopted = swap.adopt(memory);
  same<typeof adopted.buffer, ArrayBuffer>(true);
  const found = regionOf(memory);
  same<typeof found, SwapRegion<ArrayBuffer> | null>(true);
}

/** Calls that TypeScript must refuse. */
const constructions: readonly (() => unknown)[] = [
  // @ts-expect-error the constructor is private
  () => new MemorySwap(),
  // @ts-expect-error the constructor is private
  () => new PagedArray(),
  // @ts-expect-error the constructor is private
  () => new SwapRegion(),
];

for (const construct of constructions)
  assert.throws(construct, { name: 'SwapError', code: 'ERR_ARG_CONSTRUCTOR' });
assert.equal(typeof typesOfAdopt, 'function');

for (const transparent of [true, false]) {
  using swap = openSwap({ transparent });
  assert.ok(swap instanceof MemorySwap);
  using array = swap.array({ type: 'float64', length: 1000, residentBytes: 128 * kiB });
  assert.ok(array instanceof PagedArray);
  array.set(7, 0.5);
  assert.equal(array.get(7), 0.5);
  if (swap.transparent) checkRegions(swap);
}

/** The native libraries are in the package, and load from where they are installed. */
const hasLibrary = process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch);
for (const faults of ['thread', 'signal', 'javascript'] as const) {
  using swap = openSwap({ faults });
  if (swap.transparent) assert.equal(swap.faults, hasLibrary ? faults : 'javascript');
  if (swap.transparent) checkRegions(swap);
}
