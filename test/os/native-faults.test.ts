/** The native library as a file: one that is damaged is refused before it is loaded. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { libraryFlaw } from '../../src/os/native-faults.ts';
import { testFolder } from '../support/fixtures/folder.ts';

const library = (architecture: string): string =>
  fileURLToPath(new URL(`../../src/native/linux-${architecture}.so`, import.meta.url));

for (const architecture of ['x64', 'arm64'])
  test(`linux-${architecture}.so is accepted, and refused when it is cut short anywhere`, (t) => {
    const whole = readFileSync(library(architecture));
    assert.equal(libraryFlaw(library(architecture)), '');
    const file = join(testFolder(t), 'cut.so');
    for (const bytes of [0, 3, 63, 64, 1000, 5000, 20_000, whole.length - 1]) {
      writeFileSync(file, whole.subarray(0, bytes));
      assert.match(libraryFlaw(file), new RegExp(`is damaged \\(${bytes} bytes\\): install`));
    }
  });

test('a library that is missing or cannot be read is named with the reason', (t) => {
  const folder = testFolder(t);
  assert.match(libraryFlaw(join(folder, 'none.so')), /none\.so is missing$/);
  assert.match(libraryFlaw(folder), /cannot be read: EISDIR$/);
});
