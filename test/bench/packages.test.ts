/** The packages that `npm run bench -- packages` measures: twelve, pinned, each with a program; and the rows of its table. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Outcome, packages, rowOf } from '../../bench/packages.ts';

const folder = resolve(dirname(fileURLToPath(import.meta.url)), '../../../bench/packages');
const json = (name: string): unknown => JSON.parse(readFileSync(join(folder, name), 'utf8'));

test('twelve packages are listed, each once, with a program that imports it', () => {
  assert.equal(new Set(packages.map(({ name }) => name)).size, 12);
  assert.equal(new Set(packages.map(({ program }) => program)).size, packages.length);
  for (const { name, program } of packages) {
    const file = join(folder, `${program}.mjs`);
    assert.ok(existsSync(file), file);
    assert.match(readFileSync(file, 'utf8'), new RegExp(`'${name}['/]`), name);
  }
});

test('versions are exact and equal those of the lock file, which has a hash for every package', () => {
  const { dependencies } = json('package.json') as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const { packages: locked } = json('package-lock.json') as {
    readonly packages: Readonly<Record<string, { version?: string; integrity?: string }>>;
  };
  for (const { name } of packages) assert.ok(dependencies[name] !== undefined, name);
  for (const [name, version] of Object.entries(dependencies)) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
    assert.equal(locked[`node_modules/${name}`]?.version, version, name);
  }
  const { '': own, ...others } = locked;
  assert.deepEqual((own as { dependencies?: object }).dependencies, dependencies);
  for (const [path, { integrity }] of Object.entries(others))
    assert.match(integrity ?? '', /^sha512-/, path);
});

const MIB = 2 ** 20;
const outcome = (mib: number, seconds: number, swap: Outcome['swap'] = null): Outcome => ({
  ...{ hash: 'a', ms: seconds * 1000, peakBytes: mib * MIB, swap, warning: '' },
});
const data = (mib: number): Outcome['swap'] => ({
  ...{ residentBytes: 64 * MIB, storedPages: ((mib - 64) * MIB) / 4096, ratio: 2, pageIns: 51200 },
});

test('a row has the medians of plain and paged, and paging pays where both are low enough', () => {
  const plain = [outcome(400, 4), outcome(380, 2), outcome(420, 9)];
  const paged = [outcome(200, 8, data(200)), outcome(210, 6), outcome(190, 20)];
  assert.deepEqual(rowOf({ name: 'p', plain, paged }), {
    row: ['p', 'yes', 200, 2, 400, 200, 0.5, 4, 8, 2, 'yes'],
    whyNot: null,
  });
});

test('where paging does not pay, the row gives the reason with its figures', () => {
  const why = (paged: Outcome): string | null =>
    rowOf({ name: 'p', plain: [outcome(200, 2)], paged: [paged] }).whyNot;
  assert.match(
    why(outcome(100, 9, data(100)))!,
    /^4\.5 times the time: each page was swapped in 2\.0/,
  );
  assert.match(why(outcome(190, 2, data(100)))!, /^0\.95 of the memory/);
  assert.match(why(outcome(190, 9, data(100)))!, /^0\.95 of the memory.*; 4\.5 times/);
  assert.match(why(outcome(100, 2, data(40)))!, /takes 40 MiB: nothing is evicted/);
  assert.equal(why({ ...outcome(200, 2), warning: 'shared' }), 'not paged: shared');
});

test('a package that fails, or whose result differs, has the value no in its row', () => {
  const good = outcome(200, 2, data(100));
  const cases = [
    [{ plain: [{ failed: 'Error: gone' }], paged: [good] }, 'fails plain: Error: gone'],
    [{ plain: [good, good], paged: [good, { failed: 'SIGBUS' }] }, 'fails paged: SIGBUS'],
    [{ plain: [good], paged: [{ ...good, hash: 'b' }] }, 'paged: its result differs'],
  ] as const;
  for (const [runs, whyNot] of cases) {
    const found = rowOf({ name: 'p', ...runs });
    assert.deepEqual([...found.row.slice(0, 2), found.row.at(-1)], ['p', 'no', 'no']);
    assert.deepEqual([found.row.length, found.whyNot], [11, whyNot]);
  }
});
