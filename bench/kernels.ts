/** Each kernel by itself: processor ns per call on warm data, medians. */
import { Prng } from '../src/base/prng.ts';
import { KERNEL_SCRATCH_BYTES, loadKernels, PLANES } from '../src/codec/kernels.ts';
import { createMemory } from '../src/codec/linear-memory.ts';
import { makeNumericPage } from '../test/support/fixtures/numeric-pages.ts';
import { type BenchOptions, cpuNs, median, type Table } from './measure.ts';
import { loadPages } from './pages.ts';

export async function kernels(options: BenchOptions): Promise<Table> {
  const memory = createMemory(KERNEL_SCRATCH_BYTES * 4);
  const numbers = KERNEL_SCRATCH_BYTES * 2;
  const noise = numbers + 16384;
  const bytes = new Uint8Array(memory.buffer);
  const k = loadKernels(memory);
  const page = KERNEL_SCRATCH_BYTES;
  const twin = page + 16384;
  const zero = page + 32768;
  const out = page + 49152;
  const { bytes: pages } = await loadPages(options.corpus);
  bytes.set(pages.subarray(0, 4096), page);
  bytes[page] = bytes[page + 4088]! ^ 1; // not same-filled: the first comparison shows it
  bytes.copyWithin(twin, page, page + 4096);
  new Prng(1).fill(bytes.subarray(noise, noise + 4096));
  makeNumericPage('int12', new Prng(1), bytes.subarray(numbers, numbers + 4096));
  k.toPlanes(1, numbers, PLANES);
  const cases: Record<string, () => unknown> = {
    'sameFilled, no': () => k.sameFilled(page),
    'sameFilled, yes': () => k.sameFilled(zero),
    'fill, zeros': () => k.fill(out, 0, 0),
    'fill, a word': () => k.fill(out, 1, 2),
    'checksum of 1.5 KB': () => k.checksum(page, 1536, 0),
    'checksum of 4 KB': () => k.checksum(page, 4096, 0),
    'copyChecksum of 1.5 KB': () => k.copyChecksum(out, page, 1536, 0),
    'copy of 1.5 KB': () => k.copy(out, page, 1536),
    'copy of 4 KB': () => k.copy(out, page, 4096),
    'hash of a page': () => k.hash(page),
    'equal, 4 KB alike': () => k.equal(page, twin, 4096),
    'pickFilter, noise': () => k.pickFilter(noise, 3072),
    'pickFilter, numbers': () => k.pickFilter(numbers, 3072),
    'toPlanes, 4 bytes': () => k.toPlanes(1, numbers, PLANES),
    'toPlanes, 8 bytes': () => k.toPlanes(2, numbers, PLANES),
    'toPlanes, 4 bytes, delta': () => k.toPlanes(3, numbers, PLANES),
    'toPlanes, 8 bytes, delta': () => k.toPlanes(4, numbers, PLANES),
    'fromPlanes, 4 bytes': () => k.fromPlanes(1, PLANES, out),
    'fromPlanes, 8 bytes': () => k.fromPlanes(2, PLANES, out),
    'fromPlanes, 4 bytes, delta': () => k.fromPlanes(3, PLANES, out),
    'fromPlanes, 8 bytes, delta': () => k.fromPlanes(4, PLANES, out),
  };
  const rows = Object.entries(cases).map(([name, work]) => [name, nsOf(work, options.rounds)]);
  return { title: 'kernels: ns of processor time per call, warm', columns: ['kernel', 'ns'], rows };
}

function nsOf(work: () => unknown, rounds: number): number {
  const calls = 100_000;
  const samples: number[] = [];
  for (let r = 0; r <= rounds; r++) {
    const start = cpuNs();
    for (let n = 0; n < calls; n++) work();
    if (r > 0) samples.push((cpuNs() - start) / calls); // round 0 warms up
  }
  return median(samples);
}
