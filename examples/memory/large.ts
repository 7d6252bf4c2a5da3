/**
 * A region of a million pages or more on a machine with less memory: writes every page and reads it again, and does the
 * same with an ordinary ArrayBuffer.
 *
 *   node build/examples/memory/large.js [--full]
 *
 * --full is 4 GiB, the largest ArrayBuffer of Node 20; Node 22 and later take --size 16384 and more. It also runs in a
 * control group with a limit of 1 GiB: the run in RAM is killed there, and the table has only the paged run.
 */
import { constants } from 'node:buffer';
import { openSwap } from '../../src/index.ts';
import { meter } from './meter.ts';
import {
  type Column,
  finish,
  lessMemory,
  optionsOf,
  runModes,
  sameAnswers,
  Work,
} from './side-by-side.ts';

const MIB = 2 ** 20;
const example = {
  name: 'large',
  about: 'Every page of one large buffer is written and read: all in RAM and paged.',
  unit: 'MiB, of which each page has two numbers',
  small: { size: 1024, resident: '64M' },
  full: { size: 4096, resident: '256M' },
};
const PAGE_WORDS = 512;

function work(bytes: number, memory: ArrayBuffer): void {
  const steps = new Work();
  const numbers = new Float64Array(memory);
  const pages = bytes / 4096;
  steps.step('write', () => {
    for (let page = 0; page < pages; page++) {
      numbers[page * PAGE_WORDS] = page + 1;
      numbers[page * PAGE_WORDS + 100] = page * 3;
    }
    return pages;
  });
  steps.step('wrong', () => {
    let wrong = 0;
    for (let page = 0; page < pages; page++) {
      const at = page * PAGE_WORDS;
      if (numbers[at] !== page + 1 || numbers[at + 100] !== page * 3) wrong++;
    }
    return wrong;
  });
  steps.print(bytes);
}

function paged(bytes: number, residentBytes: number): void {
  const swap = openSwap({ frontswap: { limitBytes: bytes } });
  meter(swap);
  const region = swap.map({ bytes, residentBytes });
  // The statistics are read at exit: the region must not be collected before.
  process.once('exit', () => void region.stats());
  work(bytes, region.buffer);
}

/** Empty if this machine does not have enough memory. */
async function inRam(): Promise<Column[]> {
  try {
    return await runModes(example, options, { ram: 'in RAM' });
  } catch (error) {
    console.error(`in RAM: ${(error as Error).message}`);
    return [];
  }
}

const options = optionsOf(example);
const bytes = options.size * MIB;
if (bytes > constants.MAX_LENGTH) {
  const largest = `${constants.MAX_LENGTH / MIB} MiB`;
  console.error(
    `large: --size ${options.size}: a buffer of Node ${process.version} has at most ${largest}`,
  );
  process.exit(2);
}
if (options.mode === 'ram') work(bytes, new ArrayBuffer(bytes));
else if (options.mode === 'paged') paged(bytes, options.residentBytes);
else {
  const columns = [...(await inRam()), ...(await runModes(example, options, { paged: 'paged' }))];
  const wrong = columns.at(-1)!.run.steps.find(({ name }) => name === 'wrong')!.answer;
  finish(example, options, columns, [
    ...(columns.length > 1 ? [sameAnswers(columns)] : []),
    { claim: 'every page reads as it was written', holds: wrong === '0' },
    ...lessMemory(columns),
  ]);
}
