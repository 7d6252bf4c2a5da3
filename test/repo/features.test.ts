/**
 * docs/features.md and docs/design/contract-tests.md say which test sees what. This holds them to it: a path or
 * a test that is named exists, nothing is left out, and nothing is claimed without a test.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const textOf = (path: string): string => readFileSync(join(root, path), 'utf8');

/** Rows of a page's tables, as cells; headings and rules are left out. */
const rowsOf = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => /^\| (?:\d|S\d|C\d)/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );

const codeIn = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, it]) => it!);

/** "`path`: _name_, _name_; `path`: _name_" as pairs; a name may be cut short. */
function testsIn(cell: string): [string, string][] {
  return cell.split('; ').flatMap((part) => {
    const [path] = codeIn(part);
    if (path === undefined) return [];
    return [...part.matchAll(/_([^_]+)_/g)].map(([, name]): [string, string] => [path, name!]);
  });
}

/** A call like test('name...') or peerTest(, or a name for one. */
function hasTest(text: string, name: string): boolean {
  const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`(?:[tT]est\\(|\\bname =)\\s*['"\`]${escaped}`).test(text);
}

/** What is wrong with the rows of a features table. */
function faultsOf(rows: readonly (readonly string[])[]): string[] {
  return rows.flatMap((row) => {
    const [id, , have = '', where = '', tests = '', note = ''] = row;
    const named = testsIn(tests);
    const faults = [...codeIn(where), ...codeIn(tests)]
      .filter((path) => !existsSync(join(root, path)))
      .map((path) => `${path} does not exist`);
    for (const [path, name] of named)
      if (existsSync(join(root, path)) && !hasTest(textOf(path), name))
        faults.push(`${path} has no test '${name}'`);
    if (row.length !== 6) faults.push(`${row.length} cells`);
    if (!['yes', 'part', 'no'].includes(have)) faults.push(`'${have}' is no answer`);
    if (codeIn(tests).length > named.length) faults.push('a test file without a test');
    if (have !== 'no' && (named.length === 0 || where === '')) faults.push(`${have} without proof`);
    if (have !== 'yes' && note === '') faults.push(`${have} without a reason`);
    return faults.map((fault) => `row ${id}: ${fault}`);
  });
}

const features = rowsOf(textOf('docs/features.md'));

test('every feature says where it is and which test sees it, or why it is not there', () => {
  assert.deepEqual(faultsOf(features), []);
});

test('features 1 to 89 and S1 to S13 are there, each once, in order, and counted', () => {
  const numbers = Array.from({ length: 89 }, (_, i) => String(i + 1));
  const swapCore = Array.from({ length: 13 }, (_, i) => `S${i + 1}`);
  assert.deepEqual(
    features.map(([id]) => id),
    [...numbers, ...swapCore],
  );
  const [yes, part, no] = ['yes', 'part', 'no'].map(
    (answer) => features.slice(0, 89).filter(([, , have]) => have === answer).length,
  );
  const sum = `Of 89: ${yes} yes, ${part} in part, ${no} no.`;
  assert.ok(textOf('docs/features.md').includes(sum), sum);
});

test('the check sees a wrong path, a wrong test, a yes without one, and a no without a reason', () => {
  const good = '`src/base/prng.ts`';
  const own = '`test/repo/features.test.ts`';
  const rows = [
    ['1', 'a', 'yes', '`src/none.ts`', `${own}: _every feature says_`, ''],
    ['2', 'b', 'yes', good, `${own}: _says where it is_`, ''],
    ['3', 'c', 'yes', good, '', ''],
    ['4', 'd', 'no', '', '', ''],
    ['5', 'e', 'yes', good, `${own}: _every feature says_`, ''],
    ['6', 'f', 'maybe', good, own, 'x', 'y'],
  ];
  assert.deepEqual(faultsOf(rows), [
    'row 1: src/none.ts does not exist',
    "row 2: test/repo/features.test.ts has no test 'says where it is'",
    'row 3: yes without proof',
    'row 4: no without a reason',
    'row 6: 7 cells',
    "row 6: 'maybe' is no answer",
    'row 6: a test file without a test',
    'row 6: maybe without proof',
  ]);
});

/** The contract numbers in names of tests under test/, with the files that carry them. */
function numbersOfTests(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const files = readdirSync(join(root, 'test'), { recursive: true }).map(String);
  for (const file of files.filter((f) => f.endsWith('.test.ts'))) {
    const names = textOf(join('test', file)).matchAll(/[tT]est\(\s*['"`]((?:C\d+ )+)/g);
    for (const [, ids] of names)
      for (const id of ids!.trim().split(' '))
        found.set(id, (found.get(id) ?? new Set()).add(join('test', file)));
  }
  return found;
}

test('contract-tests.md lists C1 to C24, and for each exactly the test files whose tests carry the number', () => {
  const carried = numbersOfTests();
  const rows = rowsOf(textOf('docs/design/contract-tests.md'));
  assert.deepEqual(
    rows.map(([id]) => id),
    Array.from({ length: 24 }, (_, i) => `C${i + 1}`),
  );
  for (const [id = '', , where = ''] of rows) {
    const listed = codeIn(where).sort();
    assert.deepEqual(listed, [...(carried.get(id) ?? [])].sort(), id);
    if (listed.length === 0) assert.match(where, /^not built yet/, id);
  }
});
