/**
 * docs/features.json and the pages of docs/design/ that name tests say which test sees what. This checks that files and
 * tests exist, that nothing is left out, and that nothing is claimed without a test.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const textOf = (path: string): string => readFileSync(join(root, path), 'utf8');

interface Feature {
  readonly id: string;
  readonly name: string;
  readonly have: string;
  readonly note: string;
  /** "zram, zswap (RAMster)": systems that have it, and those that have part of it. */
  readonly foundIn: string;
  readonly where: readonly string[];
  /** Test files with the beginnings of the names of their tests. */
  readonly tests: Readonly<Record<string, readonly string[]>>;
}

const { systems, groups }: { systems: string[]; groups: { features: Feature[] }[] } = JSON.parse(
  textOf('docs/features.json'),
);
const features = groups.flatMap((group) => group.features);
const NAME_LENGTH_MAX = 75;
const NOTE_LENGTH_MAX = 130;

/** A call like test('name...') or peerTest(, or a name for one. */
function hasTest(text: string, name: string): boolean {
  const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`(?:[tT]est\\(|\\bname =)\\s*['"\`]${escaped}`).test(text);
}

function testFaults(path: string, names: readonly string[]): string[] {
  if (!existsSync(join(root, path))) return [`${path} does not exist`];
  if (names.length === 0) return [`${path} without a test name`];
  return names
    .filter((name) => !hasTest(textOf(path), name))
    .map((name) => `${path} has no test '${name}'`);
}

/** Systems in "a, b (c)", as names; "all" means the seven that are compared. */
const systemsIn = (foundIn: string): string[] =>
  foundIn
    .replace(/^all(?: but )?/, '')
    .replace(/ ?\(|\)$/g, ', ')
    .split(', ')
    .filter((name) => name !== '');

/** The errors in one entry. */
function faultsOf({ id, name, have, note, foundIn, where, tests }: Feature): string[] {
  const faults = where
    .filter((path) => !existsSync(join(root, path)))
    .map((path) => `${path} does not exist`);
  for (const [path, names] of Object.entries(tests)) faults.push(...testFaults(path, names));
  if (!['yes', 'part', 'no'].includes(have)) faults.push(`'${have}' is not yes, part or no`);
  const isProven = where.length > 0 && Object.keys(tests).length > 0;
  if (have !== 'no' && !isProven) faults.push(`${have} without a file and a test`);
  if (have !== 'yes' && note === '') faults.push(`${have} without a note`);
  if (/[|\n]/.test(name + note)) faults.push('breaks the table');
  if (name.length > NAME_LENGTH_MAX) faults.push(`name above ${NAME_LENGTH_MAX} characters`);
  if (note.length > NOTE_LENGTH_MAX) faults.push(`note above ${NOTE_LENGTH_MAX} characters`);
  for (const system of systemsIn(foundIn))
    if (!systems.includes(system)) faults.push(`unknown system '${system}'`);
  return faults.map((fault) => `feature ${id}: ${fault}`);
}

test('every feature names the files and tests that prove it, or says why it is missing', () => {
  assert.deepEqual(features.flatMap(faultsOf), []);
});

test('features 1 to 114 and S1 to S13 exist, each once', () => {
  const numbers = Array.from({ length: 114 }, (_, i) => String(i + 1));
  const swapCore = Array.from({ length: 13 }, (_, i) => `S${i + 1}`);
  assert.deepEqual(features.map(({ id }) => id).sort(), [...numbers, ...swapCore].sort());
});

test('docs/features.md equals the output of scripts/features.mjs', () => {
  execFileSync(process.execPath, [join(root, 'scripts/features.mjs'), '--check'], {
    stdio: 'pipe',
    timeout: 60_000,
  });
});

test('the check detects every kind of error in an entry', () => {
  const own = 'test/repo/features.test.ts';
  const good: Feature = {
    id: '1',
    name: 'x',
    have: 'yes',
    note: '',
    foundIn: 'all but zram (RAMster)',
    where: [own],
    tests: { [own]: ['every feature names'] },
  };
  const faults = (change: Partial<Feature>): string[] =>
    faultsOf({ ...good, ...change }).map((fault) => fault.replace('feature 1: ', ''));
  assert.deepEqual(faults({}), []);
  assert.deepEqual(faults({ where: ['src/x.ts'] }), ['src/x.ts does not exist']);
  assert.deepEqual(faults({ tests: { 'test/x.test.ts': ['x'] } }), [
    'test/x.test.ts does not exist',
  ]);
  assert.deepEqual(faults({ tests: { [own]: ['names the files'] } }), [
    `${own} has no test 'names the files'`,
  ]);
  assert.deepEqual(faults({ tests: { [own]: [] } }), [`${own} without a test name`]);
  assert.deepEqual(faults({ tests: {} }), ['yes without a file and a test']);
  assert.deepEqual(faults({ where: [] }), ['yes without a file and a test']);
  assert.deepEqual(faults({ have: 'no', where: [], tests: {} }), ['no without a note']);
  assert.deepEqual(faults({ have: 'maybe', note: 'y' }), ["'maybe' is not yes, part or no"]);
  assert.deepEqual(faults({ note: 'a | b' }), ['breaks the table']);
  assert.deepEqual(faults({ name: 'x'.repeat(76), note: 'x'.repeat(131) }), [
    'name above 75 characters',
    'note above 130 characters',
  ]);
  assert.deepEqual(faults({ foundIn: 'zram (zwap)' }), ["unknown system 'zwap'"]);
});

/** Rows of a page's tables, as cells; headings and rules are left out. */
const rowsOf = (page: string): string[][] =>
  textOf(page)
    .split('\n')
    .filter((line) => /^\| (?!-)/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );

const codeIn = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, it]) => it!);

const testSources = readdirSync(join(root, 'test'), { recursive: true })
  .map((file) => join('test', String(file)))
  .filter((file) => file.endsWith('.ts'));

/** The contract numbers in names of tests under test/, with the files that carry them. */
function numbersOfTests(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const file of testSources) {
    const names = textOf(file).matchAll(/[tT]est\(\s*['"`]((?:C\d+ )+)/g);
    for (const [, ids] of names)
      for (const id of ids!.trim().split(' '))
        found.set(id, (found.get(id) ?? new Set()).add(file));
  }
  return found;
}

test('contract-tests.md lists C1 to C24, and for each exactly the test files whose tests carry the number', () => {
  const carried = numbersOfTests();
  const rows = rowsOf('docs/design/contract-tests.md').filter(([id]) => /^C\d/.test(id ?? ''));
  assert.deepEqual(
    rows.map(([id]) => id),
    Array.from({ length: 24 }, (_, i) => `C${i + 1}`),
  );
  for (const [id = '', , where = ''] of rows) {
    const listed = codeIn(where).sort();
    assert.deepEqual(listed, [...(carried.get(id) ?? [])].sort(), id);
    assert.ok(listed.length > 0, `${id} has a test`);
  }
});

/** Names of all tests; where a name is made from a template, the part before its first value. */
function namesOfTests(): { whole: string[]; made: string[] } {
  const whole: string[] = [];
  const made: string[] = [];
  for (const file of testSources)
    for (const [, quote, name] of textOf(file).matchAll(
      /(?:[tT]est\(|\bname =)\s*(['"`])((?:\\.|(?!\1).)*)\1/g,
    )) {
      const [start = ''] = name!.split('${');
      if (quote !== '`' || start === name) whole.push(name!);
      else if (start !== '') made.push(start);
    }
  return { whole, made };
}

/** The last column of a page's table whose heading begins with "defect". */
function testsOfDefects(text: string): string[] {
  const [, ...rows] = (/^\| defect.*\n\| -.*\n(?:\|.*\n)*/m.exec(text)?.[0] ?? '')
    .trim()
    .split('\n');
  return rows.slice(1).map((line) => line.split('|').at(-2)?.trim() ?? '');
}

test('tests named in tables of defects exist', () => {
  const { whole, made } = namesOfTests();
  const isName = (cell: string): boolean =>
    whole.some((name) => name.startsWith(cell)) ||
    made.some((start) => cell.startsWith(start) || start.startsWith(cell));
  let seen = 0;
  for (const part of [
    'cleancache',
    'engine-tests',
    'frontswap',
    'memory-tests',
    'remote',
    'tmem',
  ]) {
    const page = `docs/design/${part}.md`;
    const named = testsOfDefects(textOf(page));
    assert.ok(named.length > 0, `${page} has a table of defects`);
    assert.deepEqual(
      named.filter((cell) => !isName(cell)),
      [],
      page,
    );
    seen += named.length;
  }
  assert.ok(seen > 100, `${seen} names`);
});
