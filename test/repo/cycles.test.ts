/** No file imports itself by way of others: src, test, bench and fuzz have no import cycles, type imports included. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const folders = ['src', 'test', 'bench', 'fuzz'];

/** The specifier in `import ... from`, `export ... from`, `import '...'` and `import('...')`, types and values alike. */
const importPattern = /(?:\bfrom|\bimport)\s*\(?\s*'(\.{1,2}\/[^']+)'/g;

/** File path to the paths that it imports. */
type Graph = ReadonlyMap<string, readonly string[]>;

const importsOf = (file: string, text: string): string[] =>
  [...text.matchAll(importPattern)].map((match) => resolve(dirname(file), match[1]!));

function sourceGraph(): Graph {
  const graph = new Map<string, string[]>();
  for (const folder of folders)
    for (const name of readdirSync(join(root, folder), { recursive: true }).map(String)) {
      if (!name.endsWith('.ts')) continue;
      const file = join(root, folder, name);
      graph.set(file, importsOf(file, readFileSync(file, 'utf8')));
    }
  return graph;
}

/** One cycle for each import that leads back to a file on the path to it, first file repeated at the end. */
function cyclesOf(graph: Graph): string[][] {
  const cycles: string[][] = [];
  const visited = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at !== -1) cycles.push([...path.slice(at), file]);
    if (visited.has(file)) return;
    visited.add(file);
    path.push(file);
    for (const target of graph.get(file) ?? []) visit(target);
    path.pop();
  };
  for (const file of graph.keys()) visit(file);
  return cycles;
}

test('no import cycles in src, test, bench and fuzz', () => {
  const graph = sourceGraph();
  assert.ok(graph.size > 100, 'the walk finds the source files');
  const cycles = cyclesOf(graph).map((cycle) =>
    cycle.map((file) => relative(root, file)).join(' -> '),
  );
  assert.deepEqual(cycles, []);
});

test('the walk finds a cycle through a type import, a dynamic import and a re-export', () => {
  const file = (name: string): string => join(root, 'src', `${name}.ts`);
  const graph = new Map(
    Object.entries({
      a: "import {\n  type B,\n} from './b.ts';\n",
      b: "const c = await import('./c.ts');\n",
      c: "export { d } from './d.ts';\n",
      d: "import './a.ts';\nimport { e } from './e.ts';\n",
      e: "import { type F } from 'node:fs';\n",
    }).map(([name, text]) => [file(name), importsOf(file(name), text)]),
  );
  assert.deepEqual(cyclesOf(graph), [['a', 'b', 'c', 'd', 'a'].map(file)]);
});
