// Builds the native fault path (docs/design/native-faults.md): layout.h from layout.ts, then one library per architecture.
//
//   node scripts/build-native.mjs          writes src/native/layout.h and linux-*.so
//   node scripts/build-native.mjs check    compares, and fails where they differ from what is checked in
//
// A library is the same byte for byte for the same compiler. Its version is in src/native/compiler.txt: with another one,
// or none, the comparison is left out and a message says so.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'src/native');
const isCheck = process.argv[2] === 'check';
const targets = {
  x64: [
    'x86_64-linux-gnu-gcc',
    '-march=x86-64',
    '-fcf-protection=none',
    '-Wl,-z,max-page-size=4096',
  ],
  arm64: ['aarch64-linux-gnu-gcc', '-march=armv8-a', '-mno-outline-atomics'],
};
const flags = [
  ...['-std=gnu11', '-O3', '-fno-tree-loop-distribute-patterns', '-ffreestanding', '-nostdlib'],
  ...['-fPIC', '-shared', '-fvisibility=hidden', '-fno-stack-protector', '-fno-strict-aliasing'],
  ...['-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter', '-g0', '-s'],
  ...[
    '-Wl,--build-id=none',
    '-Wl,-z,noexecstack',
    '-Wl,-z,relro',
    '-Wl,-z,now',
    '-Wl,--no-undefined',
  ],
  '-Wl,--hash-style=both',
];

const temporary = mkdtempSync(join(tmpdir(), 'frontswap-native-'));
try {
  await run();
} finally {
  rmSync(temporary, { recursive: true, force: true });
}

async function run() {
  const bundle = join(temporary, 'layout.mjs');
  await build({ entryPoints: [join(folder, 'layout.ts')], outfile: bundle, format: 'esm' });
  const { layoutHeader } = await import(pathToFileURL(bundle));
  put('layout.h', Buffer.from(layoutHeader()));
  const versions = [];
  const known = isCheck ? readFileSync(join(folder, 'compiler.txt'), 'utf8').split('\n') : [];
  for (const [architecture, [compiler, ...own]] of Object.entries(targets)) {
    const version = versionOf(architecture, compiler);
    versions.push(version);
    if (isCheck && !known.includes(version)) {
      console.log(`native: linux-${architecture}.so is not compared: ${version}`);
      continue;
    }
    if (version.endsWith('is not installed')) throw new Error(`native: ${version}`);
    const out = join(temporary, `linux-${architecture}.so`);
    execFileSync(compiler, [...flags, ...own, '-o', out, 'faults.c'], {
      cwd: folder,
      stdio: 'inherit',
    });
    put(`linux-${architecture}.so`, readFileSync(out));
  }
  if (!isCheck) writeFileSync(join(folder, 'compiler.txt'), `${versions.join('\n')}\n`);
}

function versionOf(architecture, compiler) {
  try {
    const [line] = execFileSync(compiler, ['--version'], { encoding: 'utf8' }).split('\n');
    return line.replace(compiler, architecture);
  } catch {
    return `${compiler} is not installed`;
  }
}

function put(name, bytes) {
  const file = join(folder, name);
  if (!isCheck) return writeFileSync(file, bytes);
  if (readFileSync(file).equals(bytes))
    return console.log(`native: ${name} is what the source gives`);
  console.error(`native: ${name} differs from its source: run node scripts/build-native.mjs`);
  process.exitCode = 1;
}
