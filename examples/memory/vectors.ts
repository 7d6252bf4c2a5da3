/**
 * Vector search (inverted lists, then exact distances) over a Float32Array that is larger than RAM and does not
 * compress: pages that compressed RAM refuses go to a swap file, the lower tier.
 *
 *   node build/examples/memory/vectors.js [--full]
 *
 *   query ─▶ centroids, in RAM ─▶ the 4 nearest lists ─▶ their vectors, paged ─▶ the 10 nearest
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSwap } from '../../src/index.ts';
import { meter } from './meter.ts';
import { finish, lessMemory, optionsOf, runModes, sameAnswers, Work } from './side-by-side.ts';

const example = {
  name: 'vectors',
  about:
    'Nearest vectors by inverted lists, all in RAM and paged. Floats hardly compress: most of them end up\n' +
    'in a file in the temporary folder, below compressed RAM of a quarter of the budget.',
  unit: 'vectors, 512 bytes each',
  small: { size: 300_000, resident: '16M' },
  full: { size: 800_000, resident: '64M' },
};
const DIMENSIONS = 128;
const PROBES = 4;
const NEAREST = 10;

let state = 2010;
function random(): number {
  state = (Math.imul(state, 1664525) + 1013904223) | 0;
  return (state >>> 0) / 2 ** 32;
}

const distance = (a: Float32Array, at: number, b: Float32Array, bAt: number): number => {
  let sum = 0;
  for (let i = 0; i < DIMENSIONS; i++) {
    const d = a[at + i]! - b[bAt + i]!;
    sum += d * d;
  }
  return sum;
};

/** The `count` indexes of [0, length) with the best score, best first. */
function best(length: number, count: number, score: (i: number) => number): number[] {
  const kept: { i: number; s: number }[] = [];
  for (let i = 0; i < length; i++) {
    const s = score(i);
    if (kept.length === count && s >= kept[count - 1]!.s) continue;
    kept.push({ i, s });
    kept.sort((x, y) => x.s - y.s || x.i - y.i);
    kept.length = Math.min(kept.length, count);
  }
  return kept.map(({ i }) => i);
}

function work(count: number, memory: ArrayBuffer): void {
  const steps = new Work();
  const vectors = new Float32Array(memory, 0, count * DIMENSIONS);
  // Lists are stored one after the other, each around its centroid.
  const lists = Math.ceil(count / 500);
  const centroids = Float32Array.from({ length: lists * DIMENSIONS }, random);
  steps.step('load', () => {
    for (let i = 0; i < count; i++) {
      const centroid = Math.floor(i / 500) * DIMENSIONS;
      for (let d = 0; d < DIMENSIONS; d++)
        vectors[i * DIMENSIONS + d] = centroids[centroid + d]! + (random() - 0.5) * 0.4;
    }
    return count;
  });
  steps.step('search', () => {
    let hash = 0;
    const query = new Float32Array(DIMENSIONS);
    for (let n = 0; n < 100; n++) {
      // Three of four queries are about a few subjects.
      const subject = random() < 0.75 ? random() * Math.ceil(lists / 50) : random() * lists;
      const from = Math.floor(subject) * DIMENSIONS;
      for (let d = 0; d < DIMENSIONS; d++) query[d] = centroids[from + d]! + random() * 0.2;
      for (const list of best(lists, PROBES, (c) =>
        distance(query, 0, centroids, c * DIMENSIONS),
      )) {
        const first = list * 500;
        const length = Math.min(500, count - first);
        const score = (i: number): number => distance(query, 0, vectors, (first + i) * DIMENSIONS);
        for (const i of best(length, NEAREST, score)) hash = (Math.imul(hash, 31) + first + i) | 0;
      }
    }
    return hash;
  });
  steps.print(vectors.byteLength);
}

function paged(count: number, residentBytes: number): void {
  const bytes = count * DIMENSIONS * 4;
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-vectors-'));
  process.once('exit', () => rmSync(folder, { recursive: true }));
  const sizeBytes = Math.ceil(bytes / 2 ** 20 + 1) * 2 ** 20;
  const swap = openSwap({
    frontswap: { limitBytes: Math.max(residentBytes / 4, 2 ** 21) },
    devices: [{ kind: 'file', path: join(folder, 'swap'), sizeBytes }],
  });
  meter(swap);
  const region = swap.map({ bytes, residentBytes });
  // The statistics are read at exit: the region must not be collected before.
  process.once('exit', () => void region.stats());
  work(count, region.buffer);
}

const options = optionsOf(example);
const { size, residentBytes } = options;
if (options.mode === 'ram') work(size, new ArrayBuffer(size * DIMENSIONS * 4));
else if (options.mode === 'paged') paged(size, residentBytes);
else {
  const columns = await runModes(example, options, { ram: 'in RAM', paged: 'paged' });
  finish(example, options, columns, [sameAnswers(columns), ...lessMemory(columns)]);
}
