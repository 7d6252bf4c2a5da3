/** Each picture in docs/pictures is rendered from its measurement, and a page shows it with alternative text. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pictureNames, render } from '../../bench/pictures/pictures.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const folder = join(root, 'docs/pictures');
const names = [...pictureNames].sort();

for (const name of names)
  test(`docs/pictures/${name}.svg is the rendering of ${name}.json`, () => {
    const measured = JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'));
    assert.equal(measured.schemaVersion, 1);
    assert.equal(measured.name, name);
    assert.match(measured.date, /^\d{4}-\d\d-\d\d$/);
    assert.match(measured.machine.node, /^v\d+/);
    const svg = readFileSync(join(folder, `${name}.svg`), 'utf8');
    assert.ok(svg === render(name, measured), 'run: npm run pictures');
  });

/** Screenshots of the dashboard, which its test in a browser can write. */
const screenshots = ['dark', 'light', 'phone'].map((name) => `dashboard-${name}.png`);

test('docs/pictures has a measurement and a picture of each name, and screenshots, and no other file', () => {
  const files = [
    ...names.flatMap((name) => [`${name}.json`, `${name}.svg`]),
    ...screenshots,
  ].sort();
  assert.deepEqual(readdirSync(folder).sort(), files);
});

test('a page shows each picture, with an alternative text', () => {
  const pages = ['README.md', ...readdirSync(join(root, 'docs'), { recursive: true })]
    .map(String)
    .filter((file) => file.endsWith('.md'))
    .map((file) => (file === 'README.md' ? file : join('docs', file)));
  const shown = pages.flatMap((page) =>
    [...readFileSync(join(root, page), 'utf8').matchAll(/!\[([^\]]*)\]\(([^)]+)\)/g)].map(
      ([, instead, target]) => ({ instead, file: resolve(root, dirname(page), target!) }),
    ),
  );
  for (const { instead, file } of shown) assert.ok(instead!.length > 40, `${file} needs a text`);
  const files = new Set(shown.map(({ file }) => file));
  for (const name of [...names.map((name) => `${name}.svg`), ...screenshots])
    assert.ok(files.has(join(folder, name)), `${name} is not shown`);
});

test('the package contains the pictures of its README', () => {
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    files: readonly string[];
  };
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const targets = [...readme.matchAll(/!\[[^\]]*\]\(([^)]+)\)/g)].map(([, target]) => target!);
  assert.equal(targets.length, 1);
  for (const target of targets)
    assert.ok(
      files.some((path) => target === path || target.startsWith(`${path}/`)),
      `${target} is not in the package`,
    );
});
