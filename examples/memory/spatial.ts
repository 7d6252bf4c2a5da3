/**
 * An R-tree of rectangles (flatbush from npm) in paged memory: flatbush takes the class of its buffer as an argument,
 * and this one returns the buffer of a region.
 *
 *   node build/examples/memory/spatial.js [--full]
 */
import Flatbush from 'flatbush';
import { openSwap } from '../../src/index.ts';
import { meter } from './meter.ts';
import { finish, lessMemory, optionsOf, runModes, sameAnswers, Work } from './side-by-side.ts';

const example = {
  name: 'spatial',
  about: 'An R-tree of buildings, all in RAM and paged: insert, index, boxes, nearest neighbours.',
  unit: 'rectangles, 38 bytes each',
  small: { size: 12_000_000, resident: '96M' },
  full: { size: 16_000_000, resident: '128M' },
};

/** Returns the constructor that flatbush calls for its memory. */
function pagedBuffers(residentBytes: number): ArrayBufferConstructor {
  const swap = openSwap();
  meter(swap);
  function PagedBuffer(bytes: number): ArrayBuffer {
    return swap.map({ bytes, residentBytes }).buffer;
  }
  return PagedBuffer as unknown as ArrayBufferConstructor; // `new` yields the object that the function returns
}

function fold(hash: number, found: readonly number[]): number {
  let sum = hash;
  for (const item of found) sum = (Math.imul(sum, 31) + item) | 0;
  return sum;
}

function work(count: number, buffers: ArrayBufferConstructor): void {
  let state = 2010;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 0) / 2 ** 32;
  };
  const steps = new Work();
  const index = new Flatbush(count, 16, Float64Array, buffers);
  steps.step('insert', () => {
    // Towns: buildings of 10 to 30 m, on a map of 100 km in steps of 1/16 m.
    for (let at = 0; at < count; ) {
      const x = random() * 1e5;
      const y = random() * 1e5;
      for (let end = Math.min(count, at + 500); at < end; at++) {
        const left = Math.round((x + random() * 1000) * 16) / 16;
        const top = Math.round((y + random() * 1000) * 16) / 16;
        index.add(left, top, left + 10 + Math.round(random() * 20), top + 15);
      }
    }
    return count;
  });
  steps.step('index', () => index.finish());
  const places = Array.from({ length: 200 }, () => [random() * 1e5, random() * 1e5] as const);
  steps.step('boxes', () =>
    places.reduce((sum, [x, y]) => fold(sum, index.search(x, y, x + 1000, y + 1000)), 0),
  );
  steps.step('nearest', () =>
    places.reduce((sum, [x, y]) => fold(sum, index.neighbors(x, y, 20)), 0),
  );
  steps.print(index.data.byteLength);
}

const options = optionsOf(example);
if (options.mode === 'ram') work(options.size, ArrayBuffer);
else if (options.mode === 'paged') work(options.size, pagedBuffers(options.residentBytes));
else {
  const columns = await runModes(example, options, { ram: 'in RAM', paged: 'paged' });
  finish(example, options, columns, [sameAnswers(columns), ...lessMemory(columns)]);
}
