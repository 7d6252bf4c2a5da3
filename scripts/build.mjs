// Builds the package: AssemblyScript kernels first, then TypeScript, then bundles (docs/adr/0011).
//
//   node scripts/build.mjs publish   src            -> dist/   (published): one file per entry point, and shared chunks
//   node scripts/build.mjs test      src, test, ... -> build/  (for tests, benches, fuzzers): one file per source file
//
// In both the fault thread is one CommonJS file, and page/ has the page of the dashboard.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const kind = process.argv[2] ?? 'publish';
if (kind !== 'publish' && kind !== 'test') {
  console.error(`build: invalid argument '${kind}'; use 'publish' or 'test'`);
  process.exit(2);
}
const out = kind === 'publish' ? 'dist' : 'build';
const sourceOut = kind === 'publish' ? 'dist' : join('build', 'src');
const bin = (name) => join(root, 'node_modules', '.bin', name);
const run = (name, args) => execFileSync(bin(name), args, { cwd: root, stdio: 'inherit' });

rmSync(join(root, out), { recursive: true, force: true });

// All kernels are in one module; --runtime stub because nothing in it allocates.
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
  external: ['koffi', 'smol-toml', 'valibot'],
  ignoreAnnotations: true, // package.json's sideEffects is about dist/
  logLevel: 'warning',
};
// Names are not minified, for stack traces. Comments and blanks, which the runtime would keep in memory, are removed.
// Lines are short, because Node prints the line of code above an uncaught error.
const minified = { minifyWhitespace: true, minifySyntax: true, lineLimit: 160 };
await build({
  ...common,
  ...minified,
  entryPoints: [join(sourceOut, 'memory/fault-thread.js')],
  format: 'cjs',
  define: { 'import.meta.url': 'fileUrl' },
  banner: { js: "const fileUrl = require('node:url').pathToFileURL(__filename).href;" },
  outfile: join(sourceOut, 'memory/fault-thread.cjs'),
});
/** Modules that are bundled separately: end of the module's path, and the file of its bundle. */
const shared = {
  errors: { 'base/errors.js': 'base/errors.cjs', 'base/assert.js': 'base/errors.cjs' },
  openSwap: {
    'memory/open-swap.js': 'memory/open-swap.cjs',
    'memory/region.js': 'memory/open-swap.cjs',
    'memory/memory-swap.js': 'memory/open-swap.cjs',
    'memory/paged-array.js': 'memory/open-swap.cjs',
  },
};
if (kind === 'publish') {
  await writeManPages();
  await bundle();
} else linkPackage(join(root, 'build/examples/node_modules/frontswap'));
await buildPage();
mkdirSync(join(root, sourceOut, 'native'), { recursive: true });
for (const name of ['linux-x64.so', 'linux-arm64.so'])
  copyFileSync(join(root, 'src/native', name), join(root, sourceOut, 'native', name));
mkdirSync(join(root, sourceOut, 'codec'), { recursive: true });
copyFileSync(wasm, join(root, sourceOut, 'codec', 'kernels.wasm'));
chmodSync(join(root, sourceOut, 'cli', 'main.js'), 0o755);
// A file named frontswap, for the PATH of commands that a host runs.
mkdirSync(join(root, sourceOut, 'bin'));
writeFileSync(
  join(root, sourceOut, 'bin', 'frontswap'),
  "#!/usr/bin/env node\nimport '../cli/main.js';\n",
  { mode: 0o755 },
);

/** The page of the dashboard, for browsers: its code with uPlot, and uPlot's license, in one file. */
async function buildPage() {
  run('tsc', ['-p', 'tsconfig.page.json']);
  const from = join(root, 'src/page');
  const to = join(root, sourceOut, 'page');
  const plots = join(root, 'node_modules/uplot');
  const license = readFileSync(join(plots, 'LICENSE'), 'utf8').trim();
  await build({
    absWorkingDir: root,
    entryPoints: [join(from, 'page.ts')],
    outfile: join(to, 'page.js'),
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    minify: true,
    banner: { js: `/*! Contains uPlot:\n${license}\n*/` },
    logLevel: 'warning',
  });
  for (const name of ['index.html', 'icon.svg']) copyFileSync(join(from, name), join(to, name));
  const styles = [join(plots, 'dist/uPlot.min.css'), join(from, 'page.css')];
  const css = styles.map((path) => readFileSync(path, 'utf8').trim()).join('\n');
  writeFileSync(join(to, 'page.css'), `/*! Contains uPlot: see page.js */\n${css}\n`);
}

/** The manual pages, from the compiled table of commands. */
async function writeManPages() {
  const load = (name) => import(pathToFileURL(join(root, out, 'cli', name)));
  const [{ manPages }, { commandTable }] = await Promise.all([
    load('man-pages.js'),
    load('commands.js'),
  ]);
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  mkdirSync(join(root, out, 'man'));
  for (const [name, text] of await manPages(commandTable, version))
    writeFileSync(join(root, out, 'man', name), text);
}

/** The compiled sources as the package `frontswap` that the examples import. */
function linkPackage(folder) {
  mkdirSync(folder, { recursive: true });
  symlinkSync(relative(folder, join(root, 'build/src')), join(folder, 'dist'));
  const { name, type, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name, type, exports }));
  // A separate package scope: otherwise `frontswap` would resolve to the enclosing package, whose code is in dist/.
  writeFileSync(join(root, 'build/examples/package.json'), JSON.stringify({ type }));
}

/**
 * Replaces the compiled files with bundles of the entry points: modules that are imported, run or started as a thread.
 * Declarations are not changed. Each entry that a program under register loads on its main thread is one file, in
 * CommonJS unless it is imported: an ECMAScript module costs about 1 ms and 100 KB, whatever its size.
 *
 *   base/errors.cjs       classes that all importers must share
 *   memory/open-swap.cjs  the memory interface, loaded by register and by index
 *   memory/register.js    a separate bundle: it shares no state with other bundles
 *   the other entries     share chunks
 */
async function bundle() {
  const file = (name) => join(out, `${name}.js`);
  const entries = [
    ...[
      'index',
      'memory/explicit-swap',
      'memory/report-file',
      'cli/main',
      'async/worker',
      'host/worker',
      'async/worker-pages',
    ],
    ...readdirSync(join(root, 'src/exports')).map((name) => `exports/${name.replace(/\.ts$/, '')}`),
  ];
  const outputFiles = [
    ...(await commonJs('base/errors', ['base/errors', 'base/assert'], {})),
    ...(await commonJs(
      'memory/open-swap',
      Object.keys(shared.openSwap).map((path) => path.replace(/\.js$/, '')),
      shared.errors,
    )),
    ...(await outputsOf({ entryPoints: [file('memory/register')], format: 'esm', outbase: out })),
    ...(await outputsOf({
      entryPoints: entries.map(file),
      format: 'esm',
      splitting: true,
      outbase: out,
      chunkNames: 'chunks/[hash]',
      plugins: [outside({ ...shared.errors, ...shared.openSwap })],
    })),
  ];
  for (const name of readdirSync(join(root, out), { recursive: true }))
    if (name.endsWith('.js')) rmSync(join(root, out, name));
  for (const { path, text } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, placed(path, text));
  }
}

async function outputsOf(options) {
  const { outputFiles } = await build({
    ...common,
    ...minified,
    outdir: out,
    write: false,
    ...options,
  });
  return outputFiles;
}

/** One CommonJS file with all exports of the modules. */
function commonJs(name, modules, others) {
  return outputsOf({
    stdin: {
      contents: modules.map((module) => `export * from './${module}.js';`).join('\n'),
      resolveDir: join(root, out),
    },
    format: 'cjs',
    define: { 'import.meta.url': 'fileUrl' },
    banner: { js: "const fileUrl = require('node:url').pathToFileURL(__filename).href;" },
    outdir: undefined,
    outfile: join(out, `${name}.cjs`),
    plugins: [outside(others)],
  });
}

/** Makes modules external: they are in separate files. Paths assume that the importer is one folder below the top. */
function outside(modules) {
  return {
    name: 'outside',
    setup({ onResolve }) {
      onResolve({ filter: /\.js$/ }, ({ path, resolveDir }) => {
        const found = modules[relative(join(root, out), resolve(resolveDir, path))];
        return found === undefined ? undefined : { path: `../${found}`, external: true };
      });
    },
  };
}

/** Adapts relative paths, written for code one folder below the top, to the output's folder and to CommonJS files. */
function placed(path, text) {
  const isTop = dirname(path) === join(root, out);
  if (isTop && text.includes('import.meta'))
    throw new Error(`build: ${path} uses import.meta; its URL would be wrong in the top folder`);
  // The line limit may break a string, and so the name of a file.
  const joined = text.replaceAll(/(["'](?:\.{1,2}|\.\.\/[\w./-]*)?)\\\n/g, '$1');
  const named = joined.replaceAll('../memory/open-swap.js', '../memory/open-swap.cjs');
  return isTop ? named.replaceAll(/(["'])\.\.\/(base|memory)\//g, '$1./$2/') : named;
}
