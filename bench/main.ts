/**
 * npm run bench [-- NAME...] [--corpus FILE] [--rounds N] [--region MIB] [--budget MIB] [--json]
 *
 * Prints one table per bench, next to the peers that this machine has. --region and --budget are for `memory`;
 * `packages` downloads about 400 MB from npm the first time.
 */
import { parseArgs } from 'node:util';
import { type BenchOptions, machine, printTable, type Table } from './measure.ts';

type Bench = (options: BenchOptions) => Promise<Table | readonly Table[]>;

const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  codec: async () => (await import('./codec.ts')).codec,
  kernels: async () => (await import('./kernels.ts')).kernels,
  store: async () => (await import('./store.ts')).storeAgainstZram,
  numeric: async () => (await import('./numeric.ts')).numeric,
  recompress: async () => (await import('./recompress.ts')).recompress,
  backing: async () => (await import('./backing.ts')).backing,
  churn: async () => (await import('./store.ts')).churn,
  nbd: async () => (await import('./nbd.ts')).nbd,
  rss: async () => (await import('./nbd.ts')).rss,
  memory: async () => (await import('./memory.ts')).memory,
  fits: async () => (await import('./fits.ts')).fits,
  floor: async () => (await import('./floor.ts')).floor,
  guest: async () => (await import('./guest.ts')).run,
  swap: async () => (await import('./swap.ts')).swap,
  tmem: async () => (await import('./tmem.ts')).tmem,
  scale: async () => (await import('./store.ts')).scale,
  remote: async () => (await import('./remote.ts')).remote,
  packages: async () => (await import('./packages.ts')).packagesTable,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    corpus: { type: 'string' },
    rounds: { type: 'string', default: '7' },
    region: { type: 'string', default: '512' },
    budget: { type: 'string', default: '128' },
    json: { type: 'boolean', default: false },
  },
});

const rounds = Number(values.rounds);
const names = positionals.length > 0 ? positionals : Object.keys(benches);
const unknown = names.find((name) => benches[name] === undefined);
if (unknown !== undefined || !Number.isInteger(rounds) || rounds < 1) {
  const what = unknown === undefined ? `--rounds ${values.rounds}` : `'${unknown}'`;
  console.error(`bench: invalid ${what}; available: ${Object.keys(benches).join(', ')}`);
  process.exit(2);
}

const tables: Table[] = [];
if (!values.json) console.log(JSON.stringify(machine()));
for (const name of names) {
  const bench = await benches[name]!();
  const result = await bench({
    rounds,
    json: values.json,
    regionMib: Number(values.region),
    budgetMib: Number(values.budget),
    ...(values.corpus === undefined ? {} : { corpus: values.corpus }),
  });
  for (const table of Array.isArray(result) ? (result as Table[]) : [result as Table]) {
    tables.push(table);
    if (!values.json) printTable(table);
  }
}
if (values.json) console.log(JSON.stringify({ schemaVersion: 1, machine: machine(), tables }));
