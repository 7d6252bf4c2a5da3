// Builds the package: AssemblyScript kernels first, then TypeScript, then bundles (docs/adr/0011).
//
//   node scripts/build.mjs publish   src            -> dist/   (what is packed): a file an entry point, and shared chunks
//   node scripts/build.mjs test      src, test, ... -> build/  (what tests, benches and fuzzers run): a file a source file
//
// In both the fault thread is one CommonJS file.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

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
const folder = join(root, 'src/codec/wasm');
const sources = readdirSync(folder).map((name) => join(folder, name));
const newest = Math.max(
  ...[...sources, fileURLToPath(import.meta.url)].map((f) =>
    existsSync(f) ? statSync(f).mtimeMs : 0,
  ),
);
if (!existsSync(wasm) || statSync(wasm).mtimeMs < newest) {
  mkdirSync(dirname(wasm), { recursive: true });
  run('asc', [
    'src/codec/wasm/index.ts',
    ...['-O3', '--noAssert', '--runtime', 'stub', '--importMemory', '--use', 'abort='],
    ...['--enable', 'simd', '--enable', 'bulk-memory', '-o', wasm],
  ]);
}
run('tsc', ['-p', kind === 'publish' ? 'tsconfig.publish.json' : 'tsconfig.json']);

const common = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20',
  external: ['koffi'],
  ignoreAnnotations: true, // package.json's sideEffects is about dist/
  logLevel: 'warning',
};
// Names stay, for stack traces; comments and blanks, which the runtime would keep in memory, go.
const packed = { minifyWhitespace: true, minifySyntax: true };
await build({
  ...common,
  ...packed,
  entryPoints: [join(sourceOut, 'memory/fault-thread.js')],
  format: 'cjs',
  define: { 'import.meta.url': 'fileUrl' },
  banner: { js: "const fileUrl = require('node:url').pathToFileURL(__filename).href;" },
  outfile: join(sourceOut, 'memory/fault-thread.cjs'),
});
if (kind === 'publish') await bundle();
mkdirSync(join(root, sourceOut, 'codec'), { recursive: true });
copyFileSync(wasm, join(root, sourceOut, 'codec', 'kernels.wasm'));
chmodSync(join(root, sourceOut, 'cli', 'main.js'), 0o755);

/** Replaces the compiled files by bundles of what can be imported, run or started as a thread; declarations stay. */
async function bundle() {
  const entries = [
    ...['index', 'memory/register', 'memory/open-swap', 'memory/explicit-swap'],
    ...['cli/main', 'async/worker', 'async/worker-pages'],
  ];
  const { outputFiles } = await build({
    ...common,
    ...packed,
    entryPoints: entries.map((name) => join(out, `${name}.js`)),
    format: 'esm',
    splitting: true,
    outbase: out,
    outdir: out,
    chunkNames: 'chunks/[hash]',
    write: false,
  });
  for (const file of readdirSync(join(root, out), { recursive: true }))
    if (file.endsWith('.js')) rmSync(join(root, out, file));
  mkdirSync(join(root, out, 'chunks'));
  for (const { path, text } of outputFiles) {
    // URLs of files beside the code are written `../folder/file`: that holds one folder down, wherever the code goes.
    if (dirname(path) === join(root, out) && text.includes('import.meta'))
      throw new Error(`build: ${path} has code that looks for files from its own place`);
    writeFileSync(path, text);
  }
}
