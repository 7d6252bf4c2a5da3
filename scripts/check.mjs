// `npm run check`: types, lint and format, dead code, publish checks, in that order; stops at the first failure.
// The layer rule, file lengths and the README are checked by test/repo/ (npm test).
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = (name) => join(root, 'node_modules', '.bin', name);

function step(name, command, args) {
  process.stdout.write(`check: ${name}\n`);
  try {
    execFileSync(command, args, { cwd: root, stdio: 'inherit' });
  } catch {
    process.exitCode = 1;
    throw new Error(`check: ${name} failed`);
  }
}

step('types', bin('tsc'), ['-p', 'tsconfig.json', '--noEmit']);
step('lint and format', bin('biome'), ['check', '--error-on-warnings', '.']);
step('dead code', bin('knip'), []);
step('native libraries', process.execPath, ['scripts/build-native.mjs', 'check']);
step('build', process.execPath, ['scripts/build.mjs', 'publish']);
const folder = mkdtempSync(join(tmpdir(), 'frontswap-pack-'));
try {
  step('pack', 'npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder]);
  const tarball = join(folder, readdirSync(folder)[0]);
  step('publint', bin('publint'), ['run', tarball, '--strict']);
  step('types resolve', bin('attw'), [tarball, '--profile', 'esm-only', '--quiet']);
  step('examples from the tarball', process.execPath, ['scripts/test-tarball.mjs', tarball]);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
