/** Duplicate keys. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { repeatedKey } from '../../src/host/json-keys.ts';

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));

const cases: readonly [string, string | null][] = [
  ['{}', null],
  ['{"a":1,"b":2}', null],
  ['{"a":1,"b":2,"a":1}', 'a'],
  ['{"a" : 1 ,\n"\\u0061"\t: 2}', 'a'],
  ['{"a":{"b":1},"c":{"b":2}}', null],
  ['{"a":[{"b":1},{"b":2}],"b":1}', null],
  ['{"a":"x\\":","x":"a","y":"a"}', null],
  ['{"a":"{","a":1}', 'a'],
  ['["a","a"]', null],
];
for (const [text, want] of cases)
  test(`${text}: ${want}`, () => assert.equal(repeatedKey(text), want));

test('a printed document has no duplicate key; repeating any key makes one', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 }), (document) => {
      const text = JSON.stringify(document);
      assert.equal(repeatedKey(text), null);
      const [key = ''] = Object.keys(document);
      const twice = `${text.slice(0, -1)},${JSON.stringify(key)}:0}`;
      assert.equal(repeatedKey(twice), key);
    }),
    { seed },
  );
});
