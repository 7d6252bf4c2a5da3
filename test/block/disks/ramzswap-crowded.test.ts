/** A ramzswap disk whose backing has few free bios: which bios wait for one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Bio, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { good, made, open, PAGE, read, write } from './backing-rig.ts';

test('many reads at the backing leave a bio for writes, and pages in RAM do not wait', () => {
  const { disk, sender, backing } = open(64, { bioCount: 4 });
  for (let page = 0; page < 10; page++) write(sender, page, made('random', page));
  write(sender, 20, good(20));
  backing.isHolding = true;
  const submitRead = (page: number): Bio =>
    sender.submit({ op: BioOp.read, offset: page * PAGE, data: new Uint8Array(PAGE) });
  const reads = Array.from({ length: 10 }, (_, page) => submitRead(page));
  assert.equal(backing.inFlight.length, 3);
  sender.submit({ op: BioOp.write, offset: 30 * PAGE, data: made('random', 30) });
  assert.equal(backing.inFlight.length, 4, 'the last bio is reserved for writes');
  sender.submit({ op: BioOp.write, offset: 31 * PAGE, data: made('random', 31) });
  assert.equal(backing.inFlight.length, 4);
  sender.ended.length = 0;
  const inRam = submitRead(20);
  disk.tick();
  assert.deepEqual(sender.ended, [inRam]);
  backing.isHolding = false;
  sender.drain();
  reads.forEach((bio, page) => {
    assert.deepEqual(bio.data, made('random', page));
  });
  assert.deepEqual(read(sender, 31), made('random', 31));
  assert.equal(disk.stats().reads, 12, 'a bio that waited counts once');
});

test('a write of part of a page reads it with a bio of the reserve', () => {
  const { sender, backing } = open(64, { bioCount: 4 });
  for (let page = 0; page < 10; page++) write(sender, page, made('random', page));
  backing.isHolding = true;
  for (let page = 0; page < 8; page++)
    sender.submit({ op: BioOp.read, offset: page * PAGE, data: new Uint8Array(PAGE) });
  assert.equal(backing.inFlight.length, 3);
  const part = sender.submit({ op: BioOp.write, offset: 9 * PAGE, data: Uint8Array.of(1, 2) });
  assert.equal(backing.inFlight.length, 4);
  assert.equal(backing.inFlight[3]?.op, BioOp.read, 'the old page first');
  backing.end(3);
  assert.equal(backing.inFlight[3]?.op, BioOp.write, 'then the new one, by the same bio');
  backing.isHolding = false;
  sender.drain();
  assert.equal(part.status, BioStatus.ok);
  const now = made('random', 9);
  now.set([1, 2]);
  assert.deepEqual(read(sender, 9), now);
});

test('a discard waits for a free bio and is then passed on', () => {
  const { disk, sender, backing } = open(512, { bioCount: 2 });
  for (const page of [10, 300]) write(sender, page, made('random', page));
  backing.isHolding = true;
  sender.submit({ op: BioOp.read, offset: 10 * PAGE, data: new Uint8Array(PAGE) });
  const discard = sender.submit({ op: BioOp.discard, offset: 256 * PAGE, length: 256 * PAGE });
  disk.tick();
  assert.equal(backing.inFlight.length, 1, 'the other bio is reserved for writes');
  assert.ok(!sender.ended.includes(discard));
  backing.isHolding = false;
  sender.drain();
  assert.equal(discard.status, BioStatus.ok);
  assert.equal(disk.stats().backingDiscardedBytes, 256 * PAGE);
});

test('a second read of a page does not wait for a write of another page', () => {
  const { sender, backing } = open(64);
  for (const page of [4, 5, 6]) write(sender, page, made('random', page));
  backing.isHolding = true;
  const submitRead = (): Bio =>
    sender.submit({ op: BioOp.read, offset: 5 * PAGE, data: new Uint8Array(PAGE) });
  const first = submitRead();
  for (const page of [4, 6])
    sender.submit({ op: BioOp.write, offset: page * PAGE, data: made('random', 10 + page) });
  const second = submitRead();
  assert.equal(backing.inFlight.length, 4);
  backing.isHolding = false;
  sender.drain();
  for (const { data } of [first, second]) assert.deepEqual(data, made('random', 5));
});
