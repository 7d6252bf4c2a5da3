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
  native: 1,
  codec: 1,
  chart: 1,
  page: 1,
  arena: 2,
  frontswap: 2,
  cleancache: 2,
  block: 2,
  'block/filters': 3,
  store: 3,
  tmem: 4,
  remote: 4,
  'block/disks': 5,
  'tmem/protocol': 5,
  swap: 5,
  'frontswap/backends': 6,
  'cleancache/backends': 6,
  pager: 6,
  'nbd/protocol': 6,
  virtio: 6,
  os: 7,
  net: 8,
  async: 8,
  memory: 8,
  'nbd/server': 9,
  'tmem/server': 9,
  'vhost-user/protocol': 6,
  'vhost-user': 10,
  host: 11,
  cli: 12,
};

const importPattern = /(?:^|\n)\s*(?:import|export)\b[^'";]*?from\s+'(\.[^']+)'/g;
const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true })
    .map(String)
    .filter((f) => f.endsWith('.ts') && !f.startsWith(join('codec', 'wasm')))
    .map((f) => join(folder, f));

/** The longest ranked folder that contains the file; without one, the first folder of its path. */
function layerOf(file: string): string {
  const [first = '', second = ''] = relative(source, file).split(sep);
  return rankOf[`${first}/${second}`] === undefined ? first : `${first}/${second}`;
}

/** Every import that goes up or sideways, as `from -> to`. */
function upwardImports(file: string, text: string): string[] {
  const found: string[] = [];
  const layer = layerOf(file);
  if (layer === 'index.ts' || layer === 'exports') return found; // entry points re-export any rank
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

test('the layer rule detects an import of a higher rank', () => {
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
