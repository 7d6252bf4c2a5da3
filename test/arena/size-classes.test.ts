/** The size-class table is small: the tests check every class and every length. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  OBJECT_BYTES_MAX,
  OBJECTS_MAX,
  sizeClasses,
  ZSPAGE_PAGES_MAX,
} from '../../src/arena/size-classes.ts';

const table = sizeClasses();
const costOf = (cls: number): number => (table.zspagePages[cls]! * 4096) / table.objects[cls]!;
const compressedClasses = Array.from({ length: table.fullPage }, (_, cls) => cls);

test('every object size maps to the smallest class that fits it', () => {
  assert.equal(OBJECT_BYTES_MAX, 3076 + 4);
  for (let size = 1; size <= OBJECT_BYTES_MAX; size++) {
    const cls = table.ofEighths[(size + 7) >>> 3]!;
    assert.ok(cls < table.fullPage, `${size} has a class below fullPage`);
    assert.ok(table.objectBytes[cls]! >= size, `${size} fits class ${cls}`);
    if (cls > 0) assert.ok(table.objectBytes[cls - 1]! < size, `${size} fits no smaller class`);
  }
});

test('a zspage has 1 to 16 pages and at most 128 objects, 8-byte aligned', () => {
  assert.deepEqual([ZSPAGE_PAGES_MAX, OBJECTS_MAX], [16, 128]);
  assert.equal(Math.max(...table.zspagePages), 16, 'a class uses the longest run');
  for (const cls of compressedClasses) {
    const pages = table.zspagePages[cls]!;
    const objects = table.objects[cls]!;
    const size = table.objectBytes[cls]!;
    assert.ok(pages >= 1 && pages <= ZSPAGE_PAGES_MAX, `class ${cls}`);
    assert.ok(objects >= 1 && objects <= OBJECTS_MAX, `class ${cls}`);
    assert.equal(size % 8, 0, `class ${cls}`);
    assert.ok(size * objects <= pages * 4096, `class ${cls} fits its zspage`);
    assert.ok(
      (size + 8) * objects > pages * 4096,
      `class ${cls} leaves less than 8 bytes per object`,
    );
  }
});

test('cost rises with size, by at least 16 bytes per class', () => {
  for (const cls of compressedClasses.slice(1)) {
    assert.ok(table.objectBytes[cls]! > table.objectBytes[cls - 1]!, `class ${cls}`);
    assert.ok(costOf(cls) - costOf(cls - 1) >= 16, `class ${cls}`);
  }
});

test('every class is used by some size', () => {
  assert.deepEqual([...new Set(table.ofEighths)], compressedClasses);
});

test('an object of a compressed class costs less than a full page', () => {
  for (const cls of compressedClasses) assert.ok(costOf(cls) < 4096, `class ${cls}`);
});

test('the last class is the full page: one page, one object', () => {
  assert.equal(table.fullPage, table.count - 1);
  assert.equal(table.objectBytes[table.fullPage], 4096);
  assert.equal(table.zspagePages[table.fullPage], 1);
  assert.equal(table.objects[table.fullPage], 1);
});

test('there are about 120 classes', () => {
  assert.ok(table.count >= 100 && table.count <= 140, `${table.count} classes`);
  for (const list of [table.objectBytes, table.zspagePages, table.objects])
    assert.equal(list.length, table.count);
});

test('rounding and tails waste less than 2.5 percent on average for sizes above 300 bytes', () => {
  let waste = 0;
  let count = 0;
  for (let size = 300; size <= OBJECT_BYTES_MAX; size++, count++)
    waste += costOf(table.ofEighths[(size + 7) >>> 3]!) / size - 1;
  assert.ok(waste / count < 0.025, `${((waste / count) * 100).toFixed(2)} %`);
});
