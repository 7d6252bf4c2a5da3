/**
 * npm run bench [-- NAME...] [--corpus FILE] [--rounds N] [--region MIB] [--budget MIB] [--json]
 *
 * Prints one table per bench, next to the peers that this machine has. --region and --budget are for `memory`;
 * `packages` downloads about 400 MB from npm the first time.
 */
import { type BenchOptions, machine, printTable, type Table } from './measure.ts';
import { Progress, parseTool, positive, refuse } from './tool.ts';

type Bench = (options: BenchOptions) => Promise<Table | readonly Table[]>;

const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  codec: async () => (await import('./codec.ts')).codec,
  kernels: async () => (await import('./kernels.ts')).kernels,
  store: async () => (await import('./store.ts')).storeAgainstZram,
  numeric: async () => (await import('./numeric.ts')).numeric,
  recompress: async () => (await import('./recompress.ts')).recompress,
  backing: async () => (await import('./backing.ts')).backing,
  persist: async () => (await import('./persist.ts')).persist,
  churn: async () => (await import('./store.ts')).churn,
  host: async () => (await import('./host-memory.ts')).hostAgainstMemory,
  nbd: async () => (await import('./nbd.ts')).nbd,
  'host-workers': async () => (await import('./host-workers.ts')).hostWorkers,
  fairness: async () => (await import('./fairness.ts')).fairness,
  rss: async () => (await import('./nbd.ts')).rss,
  memory: async () => (await import('./memory.ts')).memory,
  faults: async () => (await import('./faults.ts')).faults,
  fits: async () => (await import('./fits.ts')).fits,
  floor: async () => (await import('./floor.ts')).floor,
  guest: async () => (await import('./guest.ts')).run,
  swap: async () => (await import('./swap.ts')).swap,
  tmem: async () => (await import('./tmem.ts')).tmem,
  'tmem-socket': async () => (await import('./tmem-socket.ts')).tmemSocket,
  'vhost-user': async () => (await import('./vhost-user.ts')).vhostUser,
  'vhost-wake': async () => (await import('./vhost-wake.ts')).vhostWake,
  scale: async () => (await import('./store.ts')).scale,
  remote: async () => (await import('./remote.ts')).remote,
  packages: async () => (await import('./packages.ts')).packagesTable,
};

const help = `Usage: npm run bench -- [OPTION]... [NAME]...

Measures each NAME, or everything, beside the peers that this machine has, and prints a table each.

  --rounds N      rounds, medians of which are printed (default 7)
  --corpus FILE   pages of programs to store; default: a corpus made of this machine's files
  --region MIB    memory: size of the region (default 512)
  --budget MIB    memory: what of it may be resident (default 128)
  --json          one JSON document instead of tables

Names: ${Object.keys(benches).join(', ')}

Example: npm run bench -- host fairness --rounds 3`;

const { values, positionals } = parseTool('bench', help, {
  corpus: { type: 'string' },
  rounds: { type: 'string', default: '7' },
  region: { type: 'string', default: '512' },
  budget: { type: 'string', default: '128' },
  json: { type: 'boolean', default: false },
});

const number = (option: 'rounds' | 'region' | 'budget'): number =>
  positive('bench', option, values[option]);
const [rounds, regionMib, budgetMib] = [number('rounds'), number('region'), number('budget')];
const names = positionals.length > 0 ? positionals : Object.keys(benches);
const unknown = names.find((name) => benches[name] === undefined);
if (unknown !== undefined) refuse('bench', `there is no bench '${unknown}'`);

const tables: Table[] = [];
if (!values.json) console.log(JSON.stringify(machine()));
const progress = new Progress();
for (const [index, name] of names.entries()) {
  progress.show(`bench: ${name} (${index + 1} of ${names.length})`);
  const bench = await benches[name]!();
  const result = await bench({
    rounds,
    json: values.json,
    regionMib,
    budgetMib,
    ...(values.corpus === undefined ? {} : { corpus: values.corpus }),
  });
  progress.end();
  for (const table of Array.isArray(result) ? (result as Table[]) : [result as Table]) {
    tables.push(table);
    if (!values.json) printTable(table);
  }
}
if (values.json) console.log(JSON.stringify({ schemaVersion: 1, machine: machine(), tables }));
