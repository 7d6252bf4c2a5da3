/** Damage to the stored image is reported, counted, never returned as data, and affects no other page. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { Prng } from '../../src/base/prng.ts';
import { slot as slotOf } from '../../src/base/units.ts';
import { type CodecFactory, PageFormat } from '../../src/codec/codec.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { CounterAt, GetResult, PutResult } from '../../src/store/results.ts';
import { Store } from '../../src/store/store.ts';
import { madePage as made } from '../support/fixtures/pages.ts';
import { Predictor } from '../support/models/store-model.ts';

/** Start of a shard's slot table, see shard.ts. */
const SLOT_TABLE = 56 * 1024;
const ROW_BYTES = 12;

interface Image {
  readonly store: Store;
  /** The shard's memory. */
  readonly bytes: Uint8Array;
}

function openImage(slots: number, limitBytes = 0): Image {
  let bytes = new Uint8Array(0);
  const codec: CodecFactory = (memory, kernels) => {
    bytes = new Uint8Array(memory.buffer);
    return lz4(memory, kernels);
  };
  const store = new Store({ slots, budget: new Budget(limitBytes), codec });
  return { store, bytes };
}

const predictor = new Predictor();

/** Byte address of the stored bytes of `page`, after the tables. */
function storedAt(image: Image, page: Uint8Array): { at: number; length: number } {
  const packed = predictor.compress(page);
  const stored = packed.length === 0 ? page : packed;
  const all = Buffer.from(image.bytes.buffer);
  const at = all.indexOf(stored, SLOT_TABLE);
  assert.ok(at > SLOT_TABLE, 'the stored bytes are in the image');
  assert.equal(all.indexOf(stored, at + 1), -1, 'once');
  return { at, length: stored.length };
}

type Damage = 'detected' | 'harmless' | 'wrong data';

/** Flips one bit, gets the slot's page, flips it back and gets it again. If the damage is detected, the target is unchanged. */
function flip(image: Image, slot: number, page: Uint8Array, bitAt: number): Damage {
  const { store, bytes } = image;
  const before = store.counter(CounterAt.corruptions);
  const target = new Uint8Array(4096).fill(0x5a);
  bytes[bitAt >>> 3]! ^= 1 << (bitAt & 7);
  const answer = store.get(slotOf(slot), target, 0);
  bytes[bitAt >>> 3]! ^= 1 << (bitAt & 7);
  const isDetected = answer === GetResult.corrupt;
  if (isDetected) {
    assert.ok(
      target.every((b) => b === 0x5a),
      'the target is unchanged',
    );
    assert.equal(store.counter(CounterAt.corruptions), before + 1);
  }
  const isRight = answer === GetResult.found && Buffer.compare(target, page) === 0;
  assert.equal(store.get(slotOf(slot), target, 0), GetResult.found);
  assert.deepEqual(target, page);
  return isDetected ? 'detected' : isRight ? 'harmless' : 'wrong data';
}

test('every single flipped bit of compressed bytes is detected', () => {
  const image = openImage(100);
  for (const kind of ['almost', 'text', 'records', 'cut', 'int12', 'id64'] as const) {
    const page = made(kind, 4);
    image.store.put(slotOf(7), page, 0);
    const { at, length } = storedAt(image, page);
    const step = length < 400 ? 1 : 13;
    for (let bit = 0; bit < length * 8; bit += step)
      assert.equal(flip(image, 7, page, at * 8 + bit), 'detected', `${kind}, bit ${bit}`);
    image.store.drop(slotOf(7));
    image.bytes.fill(0, at, at + length);
  }
});

test('flipped bits of a raw page are detected, first and last byte included', () => {
  const image = openImage(100);
  const page = made('random', 5);
  image.store.put(slotOf(7), page, 0);
  const { at } = storedAt(image, page);
  for (let bit = 0; bit < 4096 * 8; bit += 101)
    assert.equal(flip(image, 7, page, at * 8 + bit), 'detected', `bit ${bit}`);
  for (const byte of [0, 4095])
    for (let bit = 0; bit < 8; bit++)
      assert.equal(flip(image, 7, page, (at + byte) * 8 + bit), 'detected');
});

test('no flipped bit of a row returns wrong data: location, checksum, format and length', () => {
  const image = openImage(100);
  const at = SLOT_TABLE + 7 * ROW_BYTES;
  for (const kind of ['text', 'cut', 'random', 'records', 'almost', 'sorted'] as const) {
    const page = made(kind, 6);
    assert.equal(image.store.put(slotOf(7), page, 0), PutResult.stored);
    for (let bit = 0; bit < 96; bit++)
      assert.notEqual(
        flip(image, 7, page, at * 8 + bit),
        'wrong data',
        `${kind}, bit ${bit} of the row`,
      );
  }
});

test('flipped bits of same-filled rows are detected, except for one in 8192', () => {
  const image = openImage(200);
  const prng = new Prng(8);
  let missed = 0;
  for (let slot = 0; slot < 200; slot++) {
    const page = made(slot === 0 ? 'zero' : 'word64', prng.u32());
    image.store.put(slotOf(slot), page, 0);
    const at = SLOT_TABLE + slot * ROW_BYTES;
    for (let bit = 0; bit < 78; bit++)
      if (flip(image, slot, page, at * 8 + bit) !== 'detected') missed++;
  }
  assert.ok(missed <= 8, `${missed} of 15600 were not detected; 2 are expected`);
});

test('stored bytes moved to another slot are not returned as its page', () => {
  const image = openImage(100);
  const rows = new Int32Array(image.bytes.buffer, SLOT_TABLE, 300);
  const target = new Uint8Array(4096);
  for (const kind of ['text', 'random', 'word64', 'int12'] as const) {
    image.store.put(slotOf(1), made(kind, 9), 0);
    image.store.put(slotOf(2), made(kind, 10), 0);
    const saved = rows.slice(0, 9);
    rows.copyWithin(6, 3, 6); // slot 2's row becomes a copy of slot 1's
    assert.equal(image.store.get(slotOf(2), target, 0), GetResult.corrupt, kind);
    rows.set(saved);
    image.store.verify();
  }
});

test('damaged compressed bytes are not returned', () => {
  const image = openImage(10);
  const page = made('text', 3);
  image.store.put(slotOf(7), page, 0);
  const { at, length } = storedAt(image, page);
  const out = new Uint8Array(4096).fill(0x5a);
  for (const byte of [0, length >>> 1, length - 1]) {
    image.bytes[at + byte]! ^= 4;
    assert.equal(image.store.readCompressed(slotOf(7), out, 0), -1);
    assert.ok(out.every((b) => b === 0x5a));
    image.bytes[at + byte]! ^= 4;
  }
  assert.equal(image.store.counter(CounterAt.corruptions), 3);
  assert.equal(image.store.readCompressed(slotOf(7), out, 0), length);
});

test('other slots are not affected, and a damaged page can be replaced or dropped', () => {
  const image = openImage(300);
  const page = (n: number): Uint8Array => made(n % 2 === 0 ? 'text' : 'cut', n);
  for (let n = 0; n < 300; n++) image.store.put(slotOf(n), page(n), 0);
  const victims = [20, 41, 150];
  for (const n of victims) image.bytes[storedAt(image, page(n)).at + 9]! ^= 0x10;
  const target = new Uint8Array(4096);
  for (let n = 0; n < 300; n++) {
    const answer = image.store.get(slotOf(n), target, 0);
    assert.equal(answer, victims.includes(n) ? GetResult.corrupt : GetResult.found, `slot ${n}`);
    if (answer === GetResult.found) assert.deepEqual(target, page(n));
  }
  assert.equal(image.store.counter(CounterAt.corruptions), victims.length);
  image.store.verify();
  image.store.put(slotOf(20), page(1000), 0);
  assert.equal(image.store.get(slotOf(20), target, 0), GetResult.found);
  assert.deepEqual(target, page(1000));
  assert.ok(image.store.drop(slotOf(41)));
  image.store.verify();
  assert.equal(image.store.storedPages, 299);
});

test('a block that decompresses to the wrong length is reported as corrupt', () => {
  // A codec that decompresses to the wrong length: the result is corrupt, not a short page.
  const codec: CodecFactory = (memory, kernels) => ({
    ...lz4(memory, kernels),
    decompress: () => 4095,
  });
  const store = new Store({ slots: 4, budget: new Budget(0), codec });
  store.put(slotOf(0), made('text', 1), 0);
  assert.equal(store.formatOf(slotOf(0)), PageFormat.lz4);
  const target = new Uint8Array(4096).fill(1);
  assert.equal(store.get(slotOf(0), target, 0), GetResult.corrupt);
  assert.ok(target.every((b) => b === 1));
});

test('a put refused at the limit writes nothing to an unused shard', () => {
  const image = openImage(100, 4096);
  assert.equal(image.store.put(slotOf(0), made('random', 1), 0), PutResult.refused);
  assert.ok(
    image.bytes.subarray(65536).every((b) => b === 0),
    'no page became resident',
  );
});
