// Builds the package: AssemblyScript kernels first, then TypeScript.
//
//   node scripts/build.mjs publish   src            -> dist/   (what is packed)
//   node scripts/build.mjs test      src, test, ... -> build/  (what tests, benches and fuzzers run)
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const kind = process.argv[2] ?? 'publish';
if (kind !== 'publish' && kind !== 'test') {
  console.error(`build: '${kind}' is neither 'publish' nor 'test'`);
  process.exit(2);
}
const out = kind === 'publish' ? 'dist' : 'build';
const sourceOut = kind === 'publish' ? 'dist' : join('build', 'src');
const bin = (name) => join(root, 'node_modules', '.bin', name);
const run = (name, args) => execFileSync(bin(name), args, { cwd: root, stdio: 'inherit' });

rmSync(join(root, out), { recursive: true, force: true });

// Every kernel lives in one module; --runtime stub because nothing in it allocates.
const wasm = join(root, '.cache', 'kernels.wasm');
const folder = join(root, 'src/kernels/wasm');
const sources = readdirSync(folder).map((name) => join(folder, name));
const newest = Math.max(
  ...[...sources, fileURLToPath(import.meta.url)].map((f) =>
    existsSync(f) ? statSync(f).mtimeMs : 0,
  ),
);
if (!existsSync(wasm) || statSync(wasm).mtimeMs < newest) {
  mkdirSync(dirname(wasm), { recursive: true });
  run('asc', [
    'src/kernels/wasm/index.ts',
    ...['-O3', '--noAssert', '--runtime', 'stub', '--importMemory', '--use', 'abort='],
    ...['--enable', 'simd', '--enable', 'bulk-memory', '-o', wasm],
  ]);
}
run('tsc', ['-p', kind === 'publish' ? 'tsconfig.publish.json' : 'tsconfig.json']);
mkdirSync(join(root, sourceOut, 'kernels'), { recursive: true });
copyFileSync(wasm, join(root, sourceOut, 'kernels', 'kernels.wasm'));
chmodSync(join(root, sourceOut, 'cli', 'main.js'), 0o755);
