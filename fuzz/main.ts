/**
 * npm run fuzz [-- NAME...] [--seconds N] [--seed N]
 *
 * Runs each fuzzer for N seconds (default 30). A failure prints the seed that repeats it and exits with status 1.
 */
import { parseArgs } from 'node:util';

type Fuzzer = (options: { seed: number; seconds: number }) => unknown;

const fuzzers: Readonly<Record<string, () => Promise<Fuzzer>>> = {
  filtered: async () => (await import('./filtered.ts')).run,
  lz4: async () => (await import('./lz4.ts')).run,
  nbd: async () => (await import('./nbd.ts')).run,
  resp: async () => (await import('./resp.ts')).run,
  store: async () => (await import('./store.ts')).run,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '30' }, seed: { type: 'string' } },
});
const seconds = Number(values.seconds);
const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
const names = positionals.length > 0 ? positionals : Object.keys(fuzzers);
const unknown = names.find((name) => fuzzers[name] === undefined);
if (unknown !== undefined || !(seconds > 0) || !Number.isInteger(seed)) {
  console.error(
    `fuzz: invalid ${unknown ?? 'number'}; available: ${Object.keys(fuzzers).join(', ')}`,
  );
  process.exit(2);
}
for (const name of names) {
  const run = await fuzzers[name]!();
  console.log(`fuzz: ${name} for ${seconds} s, seed ${seed}`);
  try {
    run({ seed, seconds });
  } catch (error) {
    console.error(error);
    console.error(`fuzz: ${name} failed; repeat with: npm run fuzz -- ${name} --seed ${seed}`);
    process.exit(1);
  }
}
