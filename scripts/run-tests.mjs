// Runs compiled tests with node:test.
//
//   node scripts/run-tests.mjs unit [PATTERN]    everything but test/interop and test/guest
//   node scripts/run-tests.mjs peers [PATTERN]   test/interop: real NBD clients and servers
//   node scripts/run-tests.mjs guest [PATTERN]   test/guest: a real kernel in QEMU
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [kind = 'unit', pattern = ''] = process.argv.slice(2);
const testRoot = join(root, 'build', 'test');
const slow = new Set(['interop', 'guest']);
const folderOf = { peers: 'interop', guest: 'guest' };
if (kind !== 'unit' && folderOf[kind] === undefined) {
  console.error(`run-tests: '${kind}' is none of unit, peers, guest`);
  process.exit(2);
}
const files = readdirSync(testRoot, { recursive: true })
  .map(String)
  .filter((f) => f.endsWith('.test.js') && f.includes(pattern))
  .filter((f) =>
    kind === 'unit' ? !slow.has(f.split(sep)[0]) : f.split(sep)[0] === folderOf[kind],
  )
  .map((f) => join(testRoot, f))
  .sort();
if (files.length === 0) {
  console.error(`run-tests: no ${kind} test matches '${pattern}'`);
  process.exit(1);
}
// Peers and guests are timed against each other's absence: one file at a time.
const concurrency = kind === 'unit' ? [] : ['--test-concurrency=1'];
const reporter = process.stdout.isTTY ? 'spec' : (process.env.TEST_REPORTER ?? 'spec');
const { status } = spawnSync(
  process.execPath,
  [
    '--enable-source-maps',
    '--expose-gc',
    '--test',
    `--test-reporter=${reporter}`,
    ...concurrency,
    ...files,
  ],
  { stdio: 'inherit', cwd: root },
);
process.exit(status ?? 1);
