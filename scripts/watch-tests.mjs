// Builds and runs the unit tests again after each change of the code: `npm run test:watch -- test/store`.
import { spawnSync } from 'node:child_process';
import { watch } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const QUIET_MS = 200; // editors and checkouts change files in bursts
const folders = ['src', 'test', 'bench', 'examples', 'fuzz'];
let timer;

const script = (name, ...args) =>
  spawnSync(process.execPath, [join(root, 'scripts', name), ...args], {
    cwd: root,
    stdio: 'inherit',
  }).status === 0;

function run() {
  if (script('build.mjs', 'test')) script('run-tests.mjs', 'unit', ...process.argv.slice(2));
  console.log('watch-tests: waiting for a change');
}

for (const folder of folders)
  watch(join(root, folder), { recursive: true }, () => {
    clearTimeout(timer);
    timer = setTimeout(run, QUIET_MS);
  });
run();
