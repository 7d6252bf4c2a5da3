/** RESP2 against a decoder made of regular expressions: every prefix of every reply, and bytes that are not a reply. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import {
  ARRAY_MAX,
  digitsOf,
  LINE_BYTES_MAX,
  RespReader,
  RespWriter,
  Token,
} from '../../src/remote/resp.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { BULK_MAX, checkEveryCut, naiveToken, randomReply } from '../support/models/resp-model.ts';

test('a command is an array of bulk strings', () => {
  const bytes = new Uint8Array(200);
  const writer = new RespWriter(bytes, 10, 200);
  writer.command(4);
  writer.text('HSET');
  writer.data(Uint8Array.of(0, 13, 10));
  writer.number(1024);
  const at = writer.reserve(2);
  bytes.set([120, 121], at);
  const text = '*4\r\n$4\r\nHSET\r\n$3\r\n\0\r\n\r\n$4\r\n1024\r\n$2\r\nxy\r\n';
  assert.equal(Buffer.from(bytes.subarray(10, writer.at)).toString('latin1'), text);
  assert.equal(writer.writtenBytes, text.length);
  assert.equal(writer.freeBytes, 190 - text.length);
  const before = writer.at;
  writer.command(1);
  writer.rewind(before);
  assert.equal(writer.writtenBytes, text.length);
  assert.ok(bytes.subarray(0, 10).every((byte) => byte === 0));
});

test('the writer stays inside its window', () => {
  const bytes = new Uint8Array(64);
  for (const write of [
    (w: RespWriter) => w.text('x'.repeat(40)),
    (w: RespWriter) => w.data(new Uint8Array(40)),
    (w: RespWriter) => w.reserve(40),
    (w: RespWriter) => {
      for (let i = 0; i < 9; i++) w.number(2 ** 40);
    },
  ]) {
    assert.throws(() => write(new RespWriter(bytes, 8, 32)), InvariantError);
    assert.ok(bytes.subarray(32).every((byte) => byte === 0));
  }
  assert.throws(() => new RespWriter(bytes, 0, 32).text('ä'), InvariantError);
  assert.throws(() => new RespWriter(bytes, 0, 32).digits(-1), InvariantError);
});

test('digitsOf() matches String(n).length', () => {
  for (let n = 1; n < 2 ** 53; n *= 7)
    for (const m of [n - 1, n, n + 1]) assert.equal(digitsOf(m), String(m).length, String(m));
});

const good: readonly string[] = [
  '+OK\r\n',
  '+\r\n',
  '-ERR no\r\n',
  ':0\r\n',
  ':-12\r\n',
  ':9007199254740991\r\n',
  '$0\r\n\r\n',
  '$5\r\na\r\nb\r\r\n',
  '$-1\r\n',
  '*-1\r\n',
  '*0\r\n',
  '*2\r\n',
  `*${ARRAY_MAX}\r\n`,
  `+${'x'.repeat(LINE_BYTES_MAX)}\r\n`,
  `$${BULK_MAX}\r\n${'y'.repeat(BULK_MAX)}\r\n`,
];
const bad: readonly string[] = [
  'x',
  '\r\n',
  '+a\nb\r\n',
  '+a\rb\r\n',
  `+${'x'.repeat(LINE_BYTES_MAX + 1)}`,
  ':\r\n',
  ':1\n',
  ':+1\r\n',
  ':01\r\n',
  ':-0\r\n',
  ':--1\r\n',
  ':9007199254740992\r\n',
  ':123456789012345678',
  ':1 \r\n',
  '$-2\r\n',
  `$${BULK_MAX + 1}\r\n`,
  '$2\r\nabc\r\n',
  '$2\r\nab\rc',
  `*${ARRAY_MAX + 1}\r\n`,
  '*-2\r\n',
];

test('every reply is read completely; every prefix of it is incomplete', () => {
  for (const text of good) {
    const { token } = naiveToken(text);
    assert.ok(token !== Token.malformed && token !== Token.incomplete, JSON.stringify(text));
    checkEveryCut(text);
  }
});

test('bytes that are not a reply are malformed, also with more bytes', () => {
  for (const text of bad) {
    checkEveryCut(text);
    const bytes = Buffer.from(text, 'latin1');
    const reader = new RespReader(bytes, BULK_MAX);
    assert.equal(reader.read(0, bytes.length), Token.malformed, JSON.stringify(text));
  }
});

randomTest(
  'valid and corrupted random replies are read as the naive decoder reads them',
  3000,
  (prng, steps) => {
    for (let i = 0; i < steps; i++) checkEveryCut(randomReply(prng));
  },
);
