/** The memory that native code and JavaScript share: both sides have the same offsets. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { layoutHeader, layoutOffsets, NativeAt, NativePage } from '../../src/native/layout.ts';
import { loadNativeFaults } from '../../src/os/native-faults.ts';
import { PageState } from '../../src/pager/region.ts';

const { native, reason } = loadNativeFaults();
const skip = native === null ? reason : false;

test('layout.h is what layout.ts generates', () => {
  const file = new URL('../../../src/native/layout.h', import.meta.url);
  assert.equal(readFileSync(file, 'utf8'), layoutHeader());
});

test('the native library was compiled with the offsets of layout.ts', { skip }, () => {
  const offsets: number[] = [];
  for (let i = 0; native!.offset(i) !== -1; i++) offsets.push(native!.offset(i));
  assert.deepEqual(offsets, layoutOffsets);
});

test('the parts of the shared memory do not overlap', () => {
  const parts = Object.values(NativeAt);
  assert.deepEqual(
    parts,
    [...parts].sort((a, b) => a - b),
  );
});

test('a page state has one number for both sides', () => {
  for (const [name, state] of Object.entries(PageState))
    assert.equal(NativePage[name as keyof typeof PageState], state, name);
});

test('for a platform without a library the reason names it', () => {
  assert.match(loadNativeFaults('linux', 'riscv64').reason, /no native library .*riscv64/);
  assert.match(loadNativeFaults('darwin', 'arm64').reason, /no native library .*darwin/);
});
