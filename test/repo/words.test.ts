/** Retired words of docs/reference/glossary.md stay out of code, messages and documentation. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const glossary = 'docs/reference/glossary.md';
/** Decision records and released changes keep the words of their time. */
const isExempt = (file: string): boolean =>
  file === glossary ||
  file.startsWith('docs/adr/') ||
  file === 'CHANGELOG.md' ||
  file === 'test/repo/words.test.ts';

interface Retired {
  readonly words: readonly string[];
  readonly instead: string;
}

function retiredWords(text: string): Retired[] {
  const [, block = ''] = /```retired\n([\s\S]*?)```/.exec(text) ?? [];
  return block
    .split('\n')
    .filter((line) => line.includes('->'))
    .map((line) => {
      const [words = '', instead = ''] = line.split('->');
      return { words: words.split(',').map((word) => word.trim()), instead: instead.trim() };
    });
}

const retired = retiredWords(readFileSync(join(root, glossary), 'utf8'));
const pattern = new RegExp(
  `(?<![\\w-])(?:${retired.flatMap(({ words }) => words.map((word) => word.replaceAll(' ', '[\\s*/#]+'))).join('|')})(?![\\w-])`,
  'gi',
);

function found(file: string, text: string): string[] {
  return [...text.matchAll(pattern)].map((match) => {
    const line = text.slice(0, match.index).split('\n').length;
    const word = match[0].replace(/[\s*/#]+/g, ' ').toLowerCase();
    const rule = retired.find(({ words }) => words.includes(word));
    return `${file}:${line}: '${word}': ${rule?.instead ?? ''}`;
  });
}

test('no retired word in code, messages and documentation', () => {
  const folders = ['src', 'test', 'bench', 'fuzz', 'examples', 'scripts', 'docs'];
  const files = [
    ...readdirSync(root),
    ...folders.flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true }).map((file) =>
        join(folder, String(file)),
      ),
    ),
  ].filter((file) => /\.(ts|mjs|md|service|socket|conf)$/.test(file) && !isExempt(file));
  assert.ok(files.length > 500, 'the files of the repository are read');
  assert.deepEqual(
    files.flatMap((file) => found(file, readFileSync(join(root, file), 'utf8'))),
    [],
  );
});

test('the check detects a retired word, also across lines of a comment, but not as part of a word', () => {
  assert.equal(found('x.ts', '/** The page is\n * given\n * up. */').length, 1);
  assert.equal(found('x.ts', 'a whole page').length, 1);
  assert.equal(found('x.ts', 'lensed, unpackable, wholepage').length, 0);
});
