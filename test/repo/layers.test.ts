/** The layer rule of docs/architecture.md: a file imports only from folders of a lower rank, or its own. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const source = join(root, 'src');

const rankOf: Readonly<Record<string, number>> = {
  base: 0,
  kernels: 0,
  observe: 1,
  codec: 2,
  arena: 2,
  frontswap: 2,
  cleancache: 2,
  block: 2,
  tmem: 3,
  store: 4,
  device: 5,
  swap: 5,
  mm: 6,
  serve: 6,
  os: 7,
  remote: 7,
  host: 8,
  memory: 8,
  lab: 9,
  cli: 10,
  dashboard: 10,
};

const importPattern = /(?:^|\n)\s*(?:import|export)\b[^'";]*?from\s+'(\.[^']+)'/g;
const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true })
    .map(String)
    .filter((f) => f.endsWith('.ts') && !f.startsWith(`kernels${sep}wasm`))
    .map((f) => join(folder, f));

const layerOf = (file: string): string => relative(source, file).split(sep)[0] ?? '';

/** Every import that goes up or sideways, as `from -> to`. */
function upwardImports(file: string, text: string): string[] {
  const found: string[] = [];
  const layer = layerOf(file);
  if (layer === 'index.ts') return found; // the public entry re-exports from any rank
  const rank = rankOf[layer];
  if (rank === undefined) return [`${relative(root, file)}: folder '${layer}' has no rank`];
  for (const match of text.matchAll(importPattern)) {
    const target = layerOf(resolve(dirname(file), match[1] ?? ''));
    const targetRank = rankOf[target];
    if (target === layer) continue;
    if (targetRank === undefined || targetRank >= rank)
      found.push(`${relative(root, file)} -> ${target}`);
  }
  return found;
}

test('a file imports only lower ranks', () => {
  const found = filesOf(source).flatMap((f) => upwardImports(f, readFileSync(f, 'utf8')));
  assert.deepEqual(found, []);
});

test('the layer rule sees an import that goes up', () => {
  const text = "import { x } from '../store/store.ts';\n";
  assert.deepEqual(upwardImports(join(source, 'arena', 'made-up.ts'), text), [
    `${join('src', 'arena', 'made-up.ts')} -> store`,
  ]);
});

test('only os/ uses the foreign function interface', () => {
  const found = filesOf(source)
    .filter(
      (f) => layerOf(f) !== 'os' && /from 'koffi'|require\('koffi'\)/.test(readFileSync(f, 'utf8')),
    )
    .map((f) => relative(root, f));
  assert.deepEqual(found, []);
});

test('no file is longer than 500 lines', () => {
  const long = [source, join(root, 'test'), join(root, 'bench'), join(root, 'fuzz')]
    .flatMap(filesOf)
    .filter((f) => readFileSync(f, 'utf8').split('\n').length > 501)
    .map((f) => relative(root, f));
  assert.deepEqual(long, []);
});
