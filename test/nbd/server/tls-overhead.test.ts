/** Which clients send too much TLS beside data. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TlsOverhead } from '../../../src/nbd/server/tls-overhead.ts';

function counted() {
  const plain = { bytesRead: 3000 };
  const secure = { bytesRead: 0 };
  const overhead = new TlsOverhead(plain, secure);
  return (plainBytes: number, dataBytes: number): boolean => {
    plain.bytesRead += plainBytes;
    secure.bytesRead += dataBytes;
    return overhead.isExcessive();
  };
}

test('requests that are each sent in their own record are not excessive', () => {
  const receive = counted();
  for (let i = 0; i < 1000; i++) assert.equal(receive(10_000 * (28 + 29), 10_000 * 28), false);
});

test('messages without data are excessive, also when few are sent at a time', () => {
  const receive = counted();
  let bytes = 0;
  for (; !receive(2700, 0); bytes += 2700) assert.ok(bytes < 300_000);
  assert.ok(bytes > 250_000);
});

test('earlier data does not offset later messages without data', () => {
  const receive = counted();
  assert.equal(receive(1_000_000_000, 990_000_000), false);
  assert.equal(receive(270_000, 0), true);
});
