/** Every source file is reached from an entry point of the package, from the command line, or from a worker's entry. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const source = join(root, 'src');

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
  readonly bin: Readonly<Record<string, string>>;
}

/** Sources of what package.json exports and runs, and of what the build runs. */
function entries(): string[] {
  const { exports, bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
  // The build runs cli/man-pages.ts.
  return [...Object.values(exports), ...Object.values(bin), './dist/cli/man-pages.js']
    .map((target) => (typeof target === 'string' ? target : target.default))
    .filter((target) => target.endsWith('.js'))
    .map((target) => join(source, target.replace(/^\.\/dist\//, '').replace(/\.js$/, '.ts')));
}

const patterns = [
  /\bfrom\s+'(\.[^']+)'/g,
  /\bimport\(\s*'(\.[^']+)'\s*\)/g,
  /\bnew URL\('(\.[^']+)', import\.meta\.url\)/g,
];

/** Files that a source file imports, loads later, or starts as a worker. */
function targetsOf(file: string, text: string): string[] {
  return patterns
    .flatMap((pattern) => [...text.matchAll(pattern)])
    .map(([, target]) => resolve(dirname(file), (target ?? '').replace(/\.c?js$/, '.ts')))
    .filter((target) => target.endsWith('.ts'));
}

function reachedFrom(files: readonly string[]): Set<string> {
  const reached = new Set<string>();
  const queue = [...files];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (reached.has(file) || !existsSync(file)) continue;
    reached.add(file);
    queue.push(...targetsOf(file, readFileSync(file, 'utf8')));
  }
  return reached;
}

test('every source file is reached from an export, a command or a worker', () => {
  const reached = reachedFrom(entries());
  const unreached = readdirSync(source, { recursive: true })
    .map((name) => join(source, String(name)))
    .filter((file) => file.endsWith('.ts') && !file.startsWith(join(source, 'codec', 'wasm')))
    .filter((file) => !reached.has(file))
    .map((file) => relative(root, file));
  assert.deepEqual(unreached, []);
});

test('entries exist, and a file without them is not reached', () => {
  for (const file of entries()) assert.ok(existsSync(file), relative(root, file));
  assert.deepEqual([...reachedFrom([])], []);
  const url = "new Worker(new URL('../async/worker.js', import.meta.url));";
  assert.deepEqual(targetsOf(join(source, 'memory/x.ts'), url), [join(source, 'async/worker.ts')]);
});
