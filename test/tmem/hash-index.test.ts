/** The hash index against a set of pairs, with hashes chosen to collide and to wrap around the end of the table. */
import assert from 'node:assert/strict';
import { HashIndex } from '../../src/tmem/hash-index.ts';
import { randomTest } from '../support/fixtures/replay.ts';

function find(index: HashIndex, hash: number, row: number): boolean {
  for (let cell = index.start(hash); index.rowAt(cell) !== 0; cell = index.next(cell))
    if (index.hashAt(cell) === hash && index.rowAt(cell) === row) return true;
  return false;
}

randomTest('every row is found until it is removed, for any hashes', 20_000, (prng, steps) => {
  const rows = 14; // 32 cells
  const hashes = [0, 1, 2, 29, 30, 31, -1, -2, 32 + 30, 0x7fff_ffff];
  const index = new HashIndex(rows);
  const held = new Map<number, number>();
  for (let i = 0; i < steps; i++) {
    const row = 1 + prng.below(rows);
    const hash = held.get(row);
    if (hash === undefined) {
      const added = hashes[prng.below(hashes.length)]!;
      index.add(added, row);
      held.set(row, added);
    } else {
      index.remove(hash, row);
      held.delete(row);
    }
    for (let r = 1; r <= rows; r++)
      for (const h of hashes) assert.equal(find(index, h, r), held.get(r) === h, `row ${r}`);
    assert.equal(index.count(), held.size);
  }
});
