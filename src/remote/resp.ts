/**
 * RESP2, the protocol of Redis and Valkey, over a caller's buffer: no sockets, no allocation.
 *
 *   RespWriter   writes commands, arrays of bulk strings:   *2\r\n $4\r\n HGET\r\n $3\r\n key\r\n
 *   RespReader   reads one token at a time: +simple, -error, :integer, $bulk, *array; $-1 and *-1 are nil
 *
 * An array is a token with a count; its elements follow as tokens. The reader does not recurse, so a peer cannot choose its
 * depth.
 *
 * Invariants
 * - The reader reads only bytes [from, to). A token is complete; incomplete, with a valid prefix so far; or malformed,
 *   which more bytes cannot change.
 * - A token lies within [from, to): a bulk is complete only with all of its bytes and its \r\n.
 * - Limits are checked on the announced length, before the bytes arrive: a bulk that cannot fit, a line without an
 *   end.
 *
 * Left out: RESP3, inline commands, and integers beyond 2^53.
 *
 * Sources: Redis serialization protocol specification, redis.io/docs/reference/protocol-spec, section "RESP protocol
 * description".
 */
import { assert } from '../base/assert.ts';
import { BufferWindow } from '../base/buffer-window.ts';

export const Token = {
  /** More bytes are needed. */
  incomplete: 0,
  /** Not RESP2, or above a limit. */
  malformed: 1,
  /** A line: [at, at + length). */
  simple: 2,
  /** A line: [at, at + length); its first word is a code. */
  error: 3,
  /** An integer: `value`. */
  integer: 4,
  /** Bytes: [at, at + length). */
  bulk: 5,
  /** A null bulk string or null array. */
  nil: 6,
  /** An array of `value` elements, which follow as tokens. */
  array: 7,
} as const;
export type Token = (typeof Token)[keyof typeof Token];

/** Longest simple string or error, and longest number with its sign. */
export const LINE_BYTES_MAX = 512;
const NUMBER_BYTES_MAX = 17;
const INTEGER_MAX = Number.MAX_SAFE_INTEGER;
/** Maximum number of elements of an array. */
export const ARRAY_MAX = 65536;

const PLUS = 43;
const COLON = 58;
const CR = 13;
const LF = 10;
const MINUS = 45;
const ZERO = 48;
const DOLLAR = 36;
const STAR = 42;

/** Number of decimal digits of a whole number >= 0. */
export function digitsOf(n: number): number {
  let digits = 1;
  for (let rest = n; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  return digits;
}

/** Appends commands to a window of a buffer. */
export class RespWriter extends BufferWindow {
  /** Starts a command of `words` bulk strings, its name included. */
  command(words: number): void {
    this.#header(STAR, words);
  }

  /** Appends a bulk string of ASCII text. */
  text(text: string): void {
    this.#header(DOLLAR, text.length);
    this.ascii(text);
    this.#line();
  }

  /** Appends a number as a bulk string. */
  number(n: number): void {
    const digits = digitsOf(n);
    this.#header(DOLLAR, digits);
    this.digits(n);
    this.#line();
  }

  /** Appends `source` as a bulk string. */
  data(source: Uint8Array): void {
    this.beginBulk(source.length);
    this.raw(source);
    this.endBulk();
  }

  /** Appends a bulk string of `length` bytes that the caller fills; returns their position. */
  reserve(length: number): number {
    this.beginBulk(length);
    const at = this.take(length);
    this.endBulk();
    return at;
  }

  /** Starts a bulk string of `length` bytes. raw(), ascii() and digits() append its parts, endBulk() ends it. */
  beginBulk(length: number): void {
    this.#header(DOLLAR, length);
  }

  raw(source: Uint8Array): void {
    this.bytes.set(source, this.take(source.length));
  }

  ascii(text: string): void {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      assert(code < 128, 'text is ASCII');
      this.#byte(code);
    }
  }

  digits(n: number): void {
    assert(Number.isSafeInteger(n) && n >= 0, 'n is a safe integer >= 0');
    const digits = digitsOf(n);
    const at = this.take(digits);
    let rest = n;
    for (let i = digits - 1; i >= 0; i--) {
      this.bytes[at + i] = ZERO + (rest % 10);
      rest = Math.floor(rest / 10);
    }
  }

  endBulk(): void {
    this.#line();
  }

  #header(mark: number, n: number): void {
    this.#byte(mark);
    this.digits(n);
    this.#line();
  }

  #line(): void {
    this.#byte(CR);
    this.#byte(LF);
  }

  #byte(byte: number): void {
    this.bytes[this.take(1)] = byte;
  }
}

/** Reads tokens. The fields describe the last one; they are reused, so a token allocates nothing. */
export class RespReader {
  readonly bytes: Uint8Array;
  readonly #bulkBytesMax: number;
  /** First byte and length of a line or a bulk. */
  at = 0;
  length = 0;
  /** An integer, or the number of elements of an array. */
  value = 0;
  /** First byte after the token. */
  next = 0;

  /** @param bulkBytesMax longest bulk that the caller can receive */
  constructor(bytes: Uint8Array, bulkBytesMax: number) {
    this.bytes = bytes;
    this.#bulkBytesMax = bulkBytesMax;
  }

  /** Reads the token at `from`; bytes [from, to) have been received. */
  read(from: number, to: number): Token {
    assert(from >= 0 && from <= to && to <= this.bytes.length, 'the range is inside the buffer');
    if (from === to) return Token.incomplete;
    switch (this.bytes[from]) {
      case PLUS:
        return this.#text(from, to, Token.simple);
      case MINUS:
        return this.#text(from, to, Token.error);
      case COLON:
        return this.#number(from + 1, to, Token.integer, INTEGER_MAX, INTEGER_MAX);
      case DOLLAR:
        return this.#bulk(from, to);
      case STAR:
        return this.#array(from, to);
      default:
        return Token.malformed;
    }
  }

  #text(from: number, to: number, token: typeof Token.simple | typeof Token.error): Token {
    const line = this.#lineFrom(from + 1, to, LINE_BYTES_MAX);
    return line === Token.simple ? token : line;
  }

  #bulk(from: number, to: number): Token {
    const head = this.#number(from + 1, to, Token.bulk, 1, this.#bulkBytesMax);
    if (head !== Token.bulk) return head;
    if (this.value === -1) return Token.nil;
    this.at = this.next;
    this.length = this.value;
    const end = this.at + this.length;
    if (end < to && this.bytes[end] !== CR) return Token.malformed;
    if (end + 1 < to && this.bytes[end + 1] !== LF) return Token.malformed;
    if (end + 2 > to) return Token.incomplete;
    this.next = end + 2;
    return Token.bulk;
  }

  #array(from: number, to: number): Token {
    const head = this.#number(from + 1, to, Token.array, 1, ARRAY_MAX);
    return head === Token.array && this.value === -1 ? Token.nil : head;
  }

  /** Reads a line with a number of -below .. above into `value`: no plus sign, no leading zeros. */
  #number(from: number, to: number, token: Token, below: number, above: number): Token {
    const isNegative = from < to && this.bytes[from] === MINUS;
    const first = from + (isNegative ? 1 : 0);
    const last = Math.min(to, from + NUMBER_BYTES_MAX);
    let value = 0;
    let at = first;
    for (; at < last; at++) {
      const digit = this.bytes[at]! - ZERO;
      if (digit < 0 || digit > 9) break;
      if (at === first + 1 && value === 0) return Token.malformed;
      value = value * 10 + digit;
    }
    if (value > (isNegative ? below : above)) return Token.malformed;
    if (isNegative && at > first && value === 0) return Token.malformed;
    if (at === to) return Token.incomplete;
    if (at === first || this.bytes[at] !== CR) return Token.malformed;
    if (at + 1 === to) return Token.incomplete;
    if (this.bytes[at + 1] !== LF) return Token.malformed;
    this.value = isNegative ? -value : value;
    this.next = at + 2;
    return token;
  }

  /** Reads a line of text into `at` and `length`. */
  #lineFrom(from: number, to: number, max: number): Token {
    const last = Math.min(to, from + max + 1);
    let at = from;
    while (at < last && this.bytes[at] !== CR) {
      if (this.bytes[at] === LF) return Token.malformed;
      at++;
    }
    if (at - from > max) return Token.malformed;
    if (at >= to || at + 1 === to) return Token.incomplete;
    if (this.bytes[at + 1] !== LF) return Token.malformed;
    this.at = from;
    this.length = at - from;
    this.next = at + 2;
    return Token.simple;
  }
}
