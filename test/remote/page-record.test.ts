/** Which bytes from another machine are taken for a page: by their count, by their name, and undamaged. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PageFormat } from '../../src/codec/codec.ts';
import { KERNEL_SCRATCH_BYTES, loadKernels } from '../../src/codec/kernels.ts';
import { createMemory } from '../../src/codec/linear-memory.ts';
import {
  isRecordOf,
  type PageName,
  RECORD_BYTES_MAX,
  Record,
  sealRecord,
} from '../../src/remote/page-record.ts';

const memory = createMemory(2 * 65536);
const kernels = loadKernels(memory);
const view = new DataView(memory.buffer);
const at = KERNEL_SCRATCH_BYTES;
const name: PageName = { owner: 1, epoch: 2, offset: 3, generation: 4 };

const seal = (length: number): void => sealRecord(view, kernels, at, name, PageFormat.lz4, length);
const isOurs = (bytes: number, of: PageName = name): boolean =>
  isRecordOf(view, kernels, at, bytes, of);

test('a record has 1 to 3072 compressed bytes', () => {
  for (const [length, isRecord] of [
    [0, false],
    [1, true],
    [RECORD_BYTES_MAX - Record.header, true],
    [RECORD_BYTES_MAX - Record.header + 1, false],
  ] as const) {
    seal(length);
    assert.equal(isOurs(Record.header + length), isRecord, `${length} compressed bytes`);
  }
  assert.equal(RECORD_BYTES_MAX - Record.header, 3072);
});

test('a record with a wrong length, or too short for a header, is rejected', () => {
  seal(100);
  for (const bytes of [
    0,
    1,
    Record.header - 1,
    Record.header,
    Record.header + 99,
    Record.header + 101,
  ])
    assert.equal(isOurs(bytes), false, `${bytes} bytes`);
  assert.equal(isOurs(Record.header + 100), true);
});

test('a record of another client, area, slot or generation is rejected', () => {
  seal(100);
  for (const other of ['owner', 'epoch', 'offset', 'generation'] as const)
    assert.equal(isOurs(Record.header + 100, { ...name, [other]: 9 }), false, other);
});

test('a change of any byte of a record is detected', () => {
  seal(100);
  const bytes = new Uint8Array(memory.buffer, at, Record.header + 100);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i]! ^= 0x40;
    assert.equal(isOurs(bytes.length), false, `byte ${i}`);
    bytes[i]! ^= 0x40;
  }
  assert.equal(isOurs(bytes.length), true);
});
