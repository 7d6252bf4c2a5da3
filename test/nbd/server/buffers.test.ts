import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BioPool } from '../../../src/block/bio.ts';
import { CARRY_BYTES_MAX, OUTPUT_BYTES_MIN } from '../../../src/nbd/protocol/session.ts';
import { LEAD_BYTES, nbdBuffers } from '../../../src/nbd/server/buffers.ts';
import { RECEIVE_BYTES } from '../../../src/net/buffers.ts';

const pools = { synchronous: new BioPool(1), asynchronous: new BioPool(1) };

test('the lead fits the largest carry, and an output the largest replies', () => {
  const { input, received, out } = nbdBuffers(pools);
  assert.ok(LEAD_BYTES >= CARRY_BYTES_MAX);
  assert.ok(out.capacity >= OUTPUT_BYTES_MIN);
  assert.equal(received.length, RECEIVE_BYTES);
  received[0] = 0x5a;
  assert.equal(input.view.getUint8(LEAD_BYTES), 0x5a);
});

test('a returned output is reused, and empty', () => {
  const buffers = nbdBuffers(pools);
  const first = buffers.out;
  buffers.replaceOutput();
  const second = buffers.out;
  assert.notEqual(second, first);
  first.length = 10;
  buffers.returnOutput(first);
  buffers.replaceOutput();
  assert.equal(buffers.out, first);
  assert.equal(first.length, 0);
});

test('after many stalled connections only a few outputs are kept', () => {
  const buffers = nbdBuffers(pools);
  const held = Array.from({ length: 50 }, () => {
    const { out } = buffers;
    buffers.replaceOutput();
    return out;
  });
  for (const out of held) buffers.returnOutput(out);
  const again = new Set(held);
  let reused = 0;
  for (let i = 0; i < 50; i++) {
    buffers.replaceOutput();
    if (again.has(buffers.out)) reused++;
  }
  assert.ok(reused > 0 && reused <= 8, `${reused} kept`);
});

test('a carry has the required size and is reused', () => {
  const buffers = nbdBuffers(pools);
  const small = buffers.takeCarry(CARRY_BYTES_MAX);
  const large = buffers.takeCarry(CARRY_BYTES_MAX + 1);
  assert.equal(small.bytes.length, CARRY_BYTES_MAX);
  assert.equal(large.bytes.length, LEAD_BYTES + RECEIVE_BYTES);
  buffers.returnCarry(small);
  buffers.returnCarry(large);
  assert.equal(buffers.takeCarry(1), small);
  assert.equal(buffers.takeCarry(RECEIVE_BYTES), large);
});
