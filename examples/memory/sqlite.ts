/**
 * SQLite in WebAssembly with a database several times larger than its resident budget. The program (database.ts) is the
 * same in all runs and does not use frontswap; `--import frontswap/register` pages its memory.
 *
 *   node build/examples/memory/sqlite.js [--full]
 *
 * Checks that the database is at least four times the budget, that SQLite's integrity check passes, that every query
 * has the same answer as in RAM, and that the peak RSS is at most that of a database with one row plus the budget plus
 * the compressed pages, within ten percent.
 */
import { formatSize } from '../../src/base/size.ts';
import { pagedDatabase } from './paged-database.ts';
import {
  type Claim,
  type Column,
  finish,
  lessMemory,
  optionsOf,
  type Run,
  run,
  sameAnswers,
} from './side-by-side.ts';

const example = {
  name: 'sqlite',
  about:
    'An in-memory SQLite database, all in RAM and paged: bulk load, index, queries, updates, integrity check.\n' +
    'Ends with status 1 if an answer differs, or if the peak RSS exceeds the bound.',
  unit: 'rows, about 200 bytes each',
  small: { size: 1_000_000, resident: '32M' },
  full: { size: 1_600_000, resident: '64M' },
};
const TIMES = 4;
const SLACK = 1.1;

function claims(paged: Run, baseline: Run, columns: readonly Column[]): Claim[] {
  const budget = options.residentBytes;
  const bound = SLACK * (baseline.peakBytes + budget + paged.peakCompressedBytes);
  const integrity = paged.steps.find(({ name }) => name === 'integrity')?.answer;
  const times = (paged.bytes / budget).toFixed(1);
  return [
    sameAnswers(columns),
    { claim: 'PRAGMA integrity_check says ok', holds: integrity === '"ok"' },
    {
      claim: `the database is ${times} times the budget, at least ${TIMES}`,
      holds: paged.bytes >= TIMES * budget,
    },
    {
      claim:
        `peak RSS ${formatSize(paged.peakBytes)} is at most ${formatSize(bound)}: 1.1 x (` +
        `${formatSize(baseline.peakBytes)} with one row + ${formatSize(budget)} budget + ` +
        `${formatSize(paged.peakCompressedBytes)} compressed)`,
      holds: paged.peakBytes <= bound,
    },
    ...lessMemory(columns),
  ];
}

const options = optionsOf(example);
const { size, residentBytes } = options;
const baseline = await run(pagedDatabase(1, residentBytes));
if (baseline.swap === null) {
  console.error('sqlite: nothing is paged here; the warning above says why');
  process.exit(1);
}
const inRam = await run({ file: 'database.js', args: [String(size)] });
const paged = await run(pagedDatabase(size, residentBytes));
const columns = [
  { name: 'in RAM', run: inRam, residentBytes },
  { name: 'paged', run: paged, residentBytes },
];
finish(example, options, columns, claims(paged, baseline, columns));
