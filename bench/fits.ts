/**
 * The cost of paging when everything fits: a memory-bound loop over a region within its budget, compared with the same
 * loop over an ordinary ArrayBuffer. Both are accessed before the measurement; rounds alternate.
 */
import { openSwap } from '../src/index.ts';
import { type BenchOptions, median, medianRatioNote, ofRounds, type Table } from './measure.ts';

const BYTES = 256 * 2 ** 20;
/** Loops of one figure. */
const PASSES = 3;

interface Loop {
  readonly name: string;
  run(numbers: Float64Array): number;
}

const loops: readonly Loop[] = [
  {
    name: 'sum, sequential',
    run: (numbers) => {
      let sum = 0;
      for (let i = 0; i < numbers.length; i++) sum += numbers[i]!;
      return sum;
    },
  },
  {
    name: 'add, sequential',
    run: (numbers) => {
      for (let i = 0; i < numbers.length; i++) numbers[i]! += 1;
      return numbers[7]!;
    },
  },
  {
    name: 'read, random',
    run: (numbers) => {
      let state = 2010;
      let sum = 0;
      const mask = numbers.length - 1;
      for (let i = 0; i < numbers.length >>> 3; i++) {
        state = (Math.imul(state, 0x9e3779b1) + 0x7f4a7c15) | 0;
        sum += numbers[(state >>> 4) & mask]!;
      }
      return sum;
    },
  },
];

function timed(loop: Loop, numbers: Float64Array): number {
  const start = performance.now();
  for (let pass = 0; pass < PASSES; pass++) loop.run(numbers);
  return performance.now() - start;
}

export async function fits({ rounds }: BenchOptions): Promise<Table> {
  const swap = openSwap();
  const region = swap.map({ bytes: BYTES, residentBytes: BYTES + 16 * 2 ** 20 });
  const both = [new Float64Array(region.buffer), new Float64Array(BYTES / 8)] as const;
  for (const numbers of both) numbers.fill(1.5);
  const faults = region.stats().faults;
  const rows = loops.map((loop) => {
    for (const numbers of both) timed(loop, numbers);
    const ratios: number[] = [];
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const [ours, theirs] =
        round % 2 === 0
          ? [timed(loop, both[0]), timed(loop, both[1])]
          : [timed(loop, both[1]), timed(loop, both[0])].toReversed();
      times.push(ours!);
      ratios.push(ours! / theirs!);
    }
    return [loop.name, median(times), median(ratios), Math.min(...ratios), Math.max(...ratios)];
  });
  const more = region.stats().faults - faults;
  swap[Symbol.dispose]();
  return {
    title: 'fits: a region within its budget and an ordinary ArrayBuffer',
    columns: ['loop', 'ms', 'median x', 'least x', 'most x'],
    rows,
    notes: [
      `${BYTES / 2 ** 20} MiB each, ${PASSES} passes per figure. ${ofRounds(rounds)}; the two alternate. Faults of the region during the loops: ${more}.`,
      `"ms": the region. ${medianRatioNote('the ArrayBuffer')} "least x", "most x": of one round.`,
    ],
  };
}
