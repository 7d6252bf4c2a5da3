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

test('requests in records of their own are not too much', () => {
  const receive = counted();
  for (let i = 0; i < 1000; i++) assert.equal(receive(10_000 * (28 + 29), 10_000 * 28), false);
});

test('messages without data are too much, also in small numbers at a time', () => {
  const receive = counted();
  let bytes = 0;
  for (; !receive(2700, 0); bytes += 2700) assert.ok(bytes < 300_000);
  assert.ok(bytes > 250_000);
});

test('data makes up for no later messages', () => {
  const receive = counted();
  assert.equal(receive(1_000_000_000, 990_000_000), false);
  assert.equal(receive(270_000, 0), true);
});
