/**
 * What the published bundles depend on: code moves to dist/chunks/, one folder below dist, so a file next to the code must be
 * named `../folder/file`; and every entry point of scripts/build.mjs must be a source file.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const source = join(root, 'src');

test('the entry points of the bundles are source files', () => {
  const script = readFileSync(join(root, 'scripts/build.mjs'), 'utf8');
  const list = /const entries = \[([\s\S]*?)\n {2}\];/.exec(script)?.[1] ?? '';
  const names = [...list.matchAll(/'([^']+)'/g)]
    .map((match) => match[1]!)
    .filter((name) => name !== 'src/exports'); // its files are added by name
  assert.ok(names.includes('index'), 'the list of entry points is found');
  const missing = names.filter((name) => !existsSync(join(source, `${name}.ts`)));
  assert.deepEqual(missing, []);
});

test('code addresses the files beside it from one folder above', () => {
  const wrong: string[] = [];
  let found = 0;
  for (const name of readdirSync(source, { recursive: true }).map(String)) {
    if (!name.endsWith('.ts')) continue;
    const text = readFileSync(join(source, name), 'utf8');
    for (const [, target] of text.matchAll(/new URL\('([^']+)', import\.meta\.url\)/g)) {
      found++;
      if (!/^\.\.\/[\w-]+(\/[\w.-]+)?$/.test(target!)) wrong.push(`${name}: ${target}`);
    }
  }
  assert.ok(found > 0, 'the walk finds URLs');
  assert.deepEqual(wrong, []);
});

test('an uncaught error prints a short line of the bundle', () => {
  const bundle = join(root, 'build/src/memory/fault-thread.cjs');
  const longest = Math.max(
    ...readFileSync(bundle, 'utf8')
      .split('\n')
      .map(({ length }) => length),
  );
  assert.ok(longest < 1000, `a line has ${longest} characters`);
});
