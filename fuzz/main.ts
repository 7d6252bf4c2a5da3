/**
 * npm run fuzz [-- NAME...] [--seconds N] [--inputs N] [--seed N]
 *
 * Runs each fuzzer for N seconds (default 30), or with ascending seeds until it has tried N inputs: streams of nbd, replies
 * of resp, requests of the tmem socket, files of its users, sessions of vhost-user, chains of virtio, blocks of the codecs, command sequences of store. A failure prints the seed that repeats it and exits with status 1.
 */
import { Progress, parseTool, positive, refuse } from '../bench/tool.ts';

/** Returns the number of inputs. */
type Fuzzer = (options: { seed: number; seconds: number }) => number | { readonly cases: number };

const fuzzers: Readonly<Record<string, () => Promise<Fuzzer>>> = {
  config: async () => (await import('./config.ts')).run,
  filtered: async () => (await import('./filtered.ts')).run,
  lz4: async () => (await import('./lz4.ts')).run,
  nbd: async () => (await import('./nbd.ts')).run,
  resp: async () => (await import('./resp.ts')).run,
  store: async () => (await import('./store.ts')).run,
  'tmem-file': async () => (await import('./tmem-file.ts')).run,
  'tmem-socket': async () => (await import('./tmem-socket.ts')).run,
  'vhost-user': async () => (await import('./vhost-user.ts')).run,
  virtio: async () => (await import('./virtio.ts')).run,
};

const help = `Usage: npm run fuzz -- [OPTION]... [NAME]...

Runs each fuzzer NAME, or all of them. A failure prints the seed that repeats it; the status is then 1.

  --seconds N   time of each run (default 30)
  --inputs N    runs again with the next seed until N inputs were tried (default 1)
  --seed N      first seed (default: the time)

Names: ${Object.keys(fuzzers).join(', ')}

Example: npm run fuzz -- nbd --inputs 10000000`;

const { values, positionals } = parseTool('fuzz', help, {
  seconds: { type: 'string', default: '30' },
  inputs: { type: 'string', default: '1' },
  seed: { type: 'string' },
});
const seconds = positive('fuzz', 'seconds', values.seconds, false);
const inputsMin = positive('fuzz', 'inputs', values.inputs);
const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
const names = positionals.length > 0 ? positionals : Object.keys(fuzzers);
const unknown = names.find((name) => fuzzers[name] === undefined);
if (unknown !== undefined) refuse('fuzz', `there is no fuzzer '${unknown}'`);
if (!Number.isInteger(seed)) refuse('fuzz', `--seed '${values.seed}' is not a whole number`);
const progress = new Progress();
for (const name of names) {
  const run = await fuzzers[name]!();
  console.log(`fuzz: ${name} for ${seconds} s, seed ${seed}`);
  const startMs = performance.now();
  let inputs = 0;
  for (let at = seed; inputs < inputsMin; at++) {
    try {
      const result = run({ seed: at, seconds });
      inputs += typeof result === 'number' ? result : result.cases;
      progress.show(`fuzz: ${name}: ${inputs.toLocaleString('en')} inputs`);
    } catch (error) {
      progress.end();
      console.error(error);
      console.error(`fuzz: ${name} failed; repeat with: npm run fuzz -- ${name} --seed ${at}`);
      process.exit(1);
    }
  }
  progress.end();
  const took = Math.round((performance.now() - startMs) / 1000);
  console.log(`fuzz: ${name}: ${inputs.toLocaleString('en')} inputs in ${took} s`);
}
