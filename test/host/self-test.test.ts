import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ramzswap } from '../../src/block/disks/ramzswap/ramzswap.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { SELF_TEST_DISK_BYTES, selfTest } from '../../src/host/self-test.ts';

const open = (factory = lz4): Ramzswap =>
  new Ramzswap({ sizeBytes: SELF_TEST_DISK_BYTES, limitBytes: 0, codec: { name: 't', factory } });

test('a working disk passes the self-test and is empty afterwards', () => {
  const disk = open();
  selfTest(disk);
  assert.equal(disk.stats().storedPages, 0);
});

test('two rounds of the self-test free enough memory that some of it is released', () => {
  let released = 0;
  const disk = new Ramzswap({
    sizeBytes: SELF_TEST_DISK_BYTES,
    limitBytes: 0,
    codec: { name: 't', factory: lz4 },
    release: () => ({
      release: (_from, bytes) => {
        released += bytes;
        return true;
      },
    }),
  });
  selfTest(disk, 2);
  assert.ok(released > 0);
});

test('a codec that decompresses to a wrong byte fails the self-test', () => {
  const disk = open((memory, kernels) => {
    const codec = lz4(memory, kernels);
    const all = new Uint8Array(memory.buffer);
    return {
      ...codec,
      decompress: (from, length, page) => {
        const result = codec.decompress(from, length, page);
        all[page + 4095]! ^= 1;
        return result;
      },
    };
  });
  assert.throws(() => selfTest(disk), /the self-test reads what it wrote/);
});

test('a disk without space fails the self-test', () => {
  const disk = new Ramzswap({
    sizeBytes: SELF_TEST_DISK_BYTES,
    limitBytes: 1 << 20,
    codec: { name: 't', factory: lz4 },
  });
  assert.throws(() => selfTest(disk), /each request of the self-test succeeds/);
});
