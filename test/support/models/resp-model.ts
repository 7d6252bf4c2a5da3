/** A RESP2 decoder made of regular expressions, and random replies, valid and corrupted. */
import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import { ARRAY_MAX, LINE_BYTES_MAX, RespReader, Token } from '../../../src/remote/resp.ts';

export const BULK_MAX = 300;

interface Read {
  readonly token: Token;
  /** The line, bulk or number. */
  readonly text: string;
  readonly next: number;
}

const no = (token: Token): Read => ({ token, text: '', next: 0 });

/** Returns true if `text` is a prefix of a token, by trying completions. */
function isPrefix(text: string): boolean {
  const ends = ['\r\n', '\n', '1\r\n', '0\r\n', 'x\r\n'];
  const bulk = /^\$(\d+)\r\n/.exec(text);
  if (bulk) {
    const missing = bulk[0].length + Number(bulk[1]) - text.length;
    if (missing >= 0 && missing <= BULK_MAX) ends.push(`${'z'.repeat(missing)}\r\n`);
  }
  // "$12": the length may be complete or not.
  const length = /^\$(\d{1,3})\r?$/.exec(text);
  if (length && Number(length[1]) <= BULK_MAX) {
    const rest = text.endsWith('\r') ? '\n' : '\r\n';
    ends.push(`${rest}${'z'.repeat(Number(length[1]))}\r\n`);
  }
  ends.push('0\r\n\r\n', '-1\r\n');
  return ends.some((end) => completeToken(text + end) !== null);
}

function completeToken(text: string): Read | null {
  const line = /^([+-])([^\r\n]*)\r\n/.exec(text);
  if (line && line[2]!.length <= LINE_BYTES_MAX)
    return {
      token: line[1] === '+' ? Token.simple : Token.error,
      text: line[2]!,
      next: line[0].length,
    };
  const number = /^([:$*])(0|-?[1-9]\d*)\r\n/.exec(text);
  if (!number) return null;
  const value = Number(number[2]);
  const next = number[0].length;
  if (number[1] === ':')
    return Math.abs(value) > Number.MAX_SAFE_INTEGER
      ? null
      : { token: Token.integer, text: String(value), next };
  if (value === -1) return { token: Token.nil, text: '', next };
  if (value < 0) return null;
  if (number[1] === '*')
    return value > ARRAY_MAX ? null : { token: Token.array, text: String(value), next };
  if (value > BULK_MAX || text.slice(next + value, next + value + 2) !== '\r\n') return null;
  return { token: Token.bulk, text: text.slice(next, next + value), next: next + value + 2 };
}

export function naiveToken(text: string): Read {
  return (
    completeToken(text) ?? no(text === '' || isPrefix(text) ? Token.incomplete : Token.malformed)
  );
}

/** Compares the reader with the naive decoder for every prefix of `text`, surrounded by other bytes. */
export function checkEveryCut(text: string): void {
  const around = Buffer.concat([
    Buffer.from('*1\r\n'),
    Buffer.from(text, 'latin1'),
    Buffer.from('0\r\n$9\r\n'),
  ]);
  const reader = new RespReader(around, BULK_MAX);
  for (let end = 0; end <= text.length; end++) {
    const part = text.slice(0, end);
    const expected = naiveToken(part);
    const got = reader.read(4, 4 + end);
    assert.equal(got, expected.token, JSON.stringify(part));
    if (got === Token.incomplete || got === Token.malformed) continue;
    assert.equal(reader.next - 4, expected.next, JSON.stringify(part));
    if (got === Token.integer || got === Token.array)
      assert.equal(reader.value, Number(expected.text), JSON.stringify(part));
    else if (got !== Token.nil) {
      const { at, length } = reader;
      assert.equal(around.toString('latin1', at, at + length), expected.text, JSON.stringify(part));
    }
  }
}

const pick = <T>(prng: Prng, from: readonly T[]): T => from[prng.below(from.length)]!;

/** A random reply; one in three is corrupted: a byte changed, doubled or left out. */
export function randomReply(prng: Prng): string {
  const size = prng.below(prng.oneIn(10) ? BULK_MAX + 20 : 12);
  const content = Array.from({ length: size }, () =>
    pick(prng, ['a', '\r', '\n', '1', '-', '\0', '\xff']),
  ).join('');
  const reply = pick(prng, [
    () => `+${content.replaceAll(/[\r\n]/g, '_')}\r\n`,
    () => `-${content.replaceAll(/[\r\n]/g, '_')}\r\n`,
    () => `:${prng.below(3) - 1}${prng.below(1000)}\r\n`,
    () => `:${prng.u32() * 2 ** prng.below(30)}\r\n`,
    () => `$${content.length}\r\n${content}\r\n`,
    () => `*${prng.below(70_000)}\r\n`,
    () => pick(prng, ['$-1\r\n', '*-1\r\n', '$0\r\n\r\n', '$-0\r\n', '*00\r\n']),
  ])();
  if (!prng.oneIn(3)) return reply;
  const at = prng.below(reply.length);
  const patch = pick(prng, ['', '\r', '\n', '0', '9', '-', '+', '$', `${reply[at]}${reply[at]}`]);
  return reply.slice(0, at) + patch + reply.slice(at + 1);
}
