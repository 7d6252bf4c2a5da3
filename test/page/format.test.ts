/** Figures of the dashboard's page as text, in the units of the command line. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseSize } from '../../src/base/size.ts';
import {
  exactSize,
  formatBytes,
  formatCount,
  formatRatio,
  formatSeconds,
} from '../../src/page/format.ts';

test('bytes have the binary units of the command line, with a space', () => {
  assert.equal(formatBytes(0), '0 B');
  assert.equal(formatBytes(4096), '4 KiB');
  assert.equal(formatBytes(312.4 * 2 ** 20), '312.4 MiB');
  assert.equal(formatBytes(2 ** 40), '1 TiB');
});

test('an exact size is read back as the same number', () => {
  assert.equal(exactSize(64 * 2 ** 20), '64M');
  assert.equal(exactSize(1_000_001), '1000001');
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => {
      assert.equal(parseSize('size', exactSize(bytes)), bytes);
    }),
  );
});

test('counts, seconds and ratios are short', () => {
  assert.equal(formatCount(0), '0');
  assert.equal(formatCount(0.44), '0.4');
  assert.equal(formatCount(1234.4), '1,234');
  assert.equal(formatSeconds(0.0000123), '12.3 \u00b5s');
  assert.equal(formatSeconds(0.001), '1 ms');
  assert.equal(formatSeconds(2.5), '2.5 s');
  assert.equal(formatRatio(null), '\u2013');
  assert.equal(formatRatio(2.345), '2.35');
});
