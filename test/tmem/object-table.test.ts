/** Objects with equal hashes: only the full key distinguishes them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mix } from '../../src/tmem/hash-index.ts';
import { ObjectTable } from '../../src/tmem/object-table.ts';

/** Inverts what mix() does to a word before the xor with the hash: both factors are odd, so they have inverses. */
function wordFor(state: number): number {
  const inverse = (odd: number): number => {
    let x = odd;
    for (let i = 0; i < 5; i++) x = Math.imul(x, 2 - Math.imul(odd, x));
    return x;
  };
  const turned = Math.imul(state, inverse(0x1b87_3593));
  return Math.imul((turned >>> 15) | (turned << 17), inverse(0xcc9e_2d51)) >>> 0;
}

const SEED = 99;
/** The hash before the last word. */
const stateOf = (pool: number, oid: Uint32Array): number =>
  oid.subarray(0, 5).reduce((hash, word) => mix(hash, word | 0), mix(SEED, pool));

/** The key's id with the last word chosen so that its hash is that of (pool 1, words of 1). */
function colliding(pool: number, first: number): Uint32Array {
  const target = new Uint32Array(6).fill(1);
  const oid = target.slice();
  oid[0] = first;
  // mix(a, x) = mix(b, y) exactly when a ^ f(x) = b ^ f(y); f(1) is read off wordFor's inverse below.
  const f1 = Math.imul((0xcc9e_2d51 << 15) | (0xcc9e_2d51 >>> 17), 0x1b87_3593);
  oid[5] = wordFor(stateOf(1, target) ^ f1 ^ stateOf(pool, oid));
  assert.equal(mix(stateOf(pool, oid), oid[5] | 0), mix(stateOf(1, target), 1), 'they collide');
  return oid;
}

test('objects with equal hashes are distinguished by pool and id', () => {
  const table = new ObjectTable(10, SEED);
  const keys = [1, 2, 3].flatMap((pool) =>
    [1, 2].map((first) => ({ pool, oid: colliding(pool, first) })),
  );
  const rows = keys.map(({ pool, oid }) => {
    assert.equal(table.find(pool, oid, 0), 0, 'not added yet');
    return table.add(pool, oid, 0, table.hash(pool, oid, 0), 0);
  });
  for (const [i, { pool, oid }] of keys.entries()) assert.equal(table.find(pool, oid, 0), rows[i]);
  // The same id in another pool, and another id in the same pool.
  assert.equal(table.find(4, keys[0]!.oid, 0), 0);
  table.remove(rows[2]!, 0);
  for (const [i, { pool, oid }] of keys.entries())
    assert.equal(table.find(pool, oid, 0), i === 2 ? 0 : rows[i]);
});
