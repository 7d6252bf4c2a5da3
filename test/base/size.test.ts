/** Sizes are parsed as util-linux does and printed as zramctl does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatSize, parseSize } from '../../src/base/size.ts';

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const K = 1024;

const parsed: readonly [string, number][] = [
  ['0', 0],
  ['4096', 4096],
  ['4096B', 4096],
  ['1K', K],
  ['1k', K],
  ['1KiB', K],
  ['1kib', K],
  ['1KB', 1000],
  ['1Ki', K],
  ['1gi', K ** 3],
  ['.5G', K ** 3 / 2],
  ['.25KB', 250],
  ['1.5G', 1.5 * K ** 3],
  ['0.5K', 512],
  ['1.1K', 1126], // 1126.4
  [' 2M\n', 2 * K ** 2],
  ['3MB', 3e6],
  ['2T', 2 * K ** 4],
  ['7P', 7 * K ** 5],
  ['1PB', 1e15],
  ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ['007', 7],
];
for (const [text, want] of parsed)
  test(`${JSON.stringify(text)} is ${want} bytes`, () =>
    assert.equal(parseSize('--limit', text), want));

const refused = [
  ['', 'is empty'],
  ['  ', 'is empty'],
  ['-1', 'is negative'],
  ['-4K', 'is negative'],
  ['8P', 'is 2^53 bytes or more'],
  ['9007199254740992', 'is 2^53 bytes or more'],
  ['9.9P', 'is 2^53 bytes or more'],
  ['1.5', 'is a fraction of a byte'],
  ['1.5B', 'is a fraction of a byte'],
  ['1E', 'is not a valid size'],
  ['1 K', 'is not a valid size'],
  ['1,5G', 'has a decimal comma instead of a point'],
  [',5G', 'has a decimal comma instead of a point'],
  ['1Kib2', 'is not a valid size'],
  ['K', 'is not a valid size'],
  ['.', 'is not a valid size'],
  ['.K', 'is not a valid size'],
  ['Ki', 'is not a valid size'],
  ['1i', 'is not a valid size'],
  ['1.K', 'is not a valid size'],
  ['0x10', 'is not a valid size'],
  ['1e3', 'is not a valid size'],
  ['NaN', 'is not a valid size'],
  ['1K1', 'is not a valid size'],
  ['+1', 'is not a valid size'],
  ['9'.repeat(33), 'is not a valid size'],
  ['１K', 'is not a valid size'],
] as const;
for (const [text, why] of refused)
  test(`${JSON.stringify(text)} ${why}, and the error names the option`, () =>
    assert.throws(
      () => parseSize('--limit', text),
      (error: Error & { code?: string; facts?: { key?: string } }) =>
        error.code === 'ERR_ARG_VALUE' &&
        error.message.startsWith(`--limit: '${text}' ${why}`) &&
        error.facts?.key === '--limit',
    ));

const printed: readonly [number, string][] = [
  [0, '0B'],
  [1023, '1023B'],
  [K, '1K'],
  [4096, '4K'],
  [1536, '1.5K'],
  [312.4 * K * K, '312.4M'],
  [K ** 2 - 1, '1M'], // not 1024K
  [K ** 3, '1G'],
  [K ** 4, '1T'],
  [7 * K ** 5, '7P'],
  [Number.MAX_SAFE_INTEGER, '8P'],
];
for (const [size, want] of printed)
  test(`${size} bytes are printed as ${want}`, () => assert.equal(formatSize(size), want));

test('plain byte counts are parsed exactly', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (n) => parseSize('x', String(n)) === n),
    { seed },
  );
});

test('a printed size is parsed back within half of its last digit', () => {
  // Above 7.9P the rounded text may be 2^53 or more.
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 50 }), fc.nat(), (shift, n) => {
      const size = Math.floor((n / 2 ** 31) * 2 ** shift);
      const text = formatSize(size);
      const unit = K ** 'BKMGTP'.indexOf(text.at(-1) ?? 'B');
      const back = parseSize('x', text);
      assert.ok(Math.abs(back - size) <= unit * 0.05 + 1, `${size} -> ${text} -> ${back}`);
      assert.ok(Number.parseFloat(text) < 1024, text);
    }),
    { seed },
  );
});

test('arbitrary text yields a size or ERR_ARG_VALUE', () => {
  const piece = fc.constantFrom('1', '9', '0', '.', '-', 'K', 'i', 'B', 'P', ' ', 'e', '\0', '∞');
  fc.assert(
    fc.property(fc.string({ unit: piece, maxLength: 40 }), (text) => {
      try {
        const size = parseSize('x', text);
        assert.ok(Number.isSafeInteger(size) && size >= 0, `${text} -> ${size}`);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ERR_ARG_VALUE');
      }
    }),
    { seed },
  );
});
