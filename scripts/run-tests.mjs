// Runs compiled tests with node:test.
//
//   node scripts/run-tests.mjs unit [WHICH...]    everything but test/interop and test/guest
//   node scripts/run-tests.mjs peers [WHICH...]   test/interop: real NBD clients and servers
//   node scripts/run-tests.mjs guest [WHICH...]   test/guest: a real kernel in QEMU
//
// WHICH is a folder or file (test/store, test/store/model.test.ts, test/store/model), or any part of a path below test/
// (store/mod). Tests that match any of several run; without one, all tests run.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [kind = 'unit', ...which] = process.argv.slice(2);
const testRoot = join(root, 'build', 'test');
const slow = new Set(['interop', 'guest']);
const folderOf = { peers: 'interop', guest: 'guest' };
if (kind !== 'unit' && folderOf[kind] === undefined) {
  console.error(`run-tests: '${kind}' is not one of unit, peers, guest`);
  process.exit(2);
}
/** Whether a compiled test, as a path below build/test, is selected by WHICH. */
const isSelected = (file) => {
  if (which.length === 0) return true;
  return which.some((text) => {
    const path = /^(?:\.\/)?(?:build\/)?test(?:\/(.*?))?\/?$/.exec(text);
    if (path === null) return file.includes(text.replace(/\.ts$/, '.js'));
    const below = (path[1] ?? '').replace(/(\.test)?\.[tj]s$/, '');
    return below === '' || file === `${below}.test.js` || file.startsWith(`${below}/`);
  });
};
const files = readdirSync(testRoot, { recursive: true })
  .map(String)
  .filter((f) => f.endsWith('.test.js') && isSelected(f))
  .filter((f) =>
    kind === 'unit' ? !slow.has(f.split(sep)[0]) : f.split(sep)[0] === folderOf[kind],
  )
  .map((f) => join(testRoot, f))
  .sort();
if (files.length === 0) {
  console.error(`run-tests: no ${kind} test matches ${which.join(' ')}`);
  process.exit(1);
}
// Peer and guest tests measure time, so they run one file at a time. Node's default is one process fewer than there are
// processors, which would be one on a machine with two.
const concurrency = kind === 'unit' ? availableParallelism() : 1;
// A watchdog for a test without one: Node 20 and 22 apply it to a file, Node 24 to each test.
const timeoutMs = kind === 'unit' ? 600_000 : 3_600_000;
const reporter = process.stdout.isTTY ? 'spec' : (process.env.TEST_REPORTER ?? 'spec');
const { status } = spawnSync(
  process.execPath,
  [
    '--enable-source-maps',
    '--expose-gc',
    '--test',
    `--test-reporter=${reporter}`,
    `--test-concurrency=${concurrency}`,
    `--test-timeout=${timeoutMs}`,
    ...files,
  ],
  { stdio: 'inherit', cwd: root },
);
process.exit(status ?? 1);
