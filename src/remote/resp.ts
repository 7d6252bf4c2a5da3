/**
 * RESP2, the protocol of Redis and its kin, over a caller's buffer: bytes in, bytes out, no socket and no garbage.
 *
 *   RespWriter   a command is an array of bulk strings:   *2\r\n $4\r\n HGET\r\n $3\r\n key\r\n
 *   RespReader   a token at a time: +simple, -error, :integer, $bulk, *array; $-1 and *-1 are nil
 *
 * An array is a token of its own, with a count; its elements follow as tokens. So nothing here recurses, and nothing
 * is as deep as the other side pleases.
 *
 * Invariants
 * - The reader looks at [from, to) and at nothing else. A token is complete, or incomplete with every byte there so far
 *   possible, or malformed: more bytes do not change that.
 * - What it says lies within [from, to): a bulk is complete only when all of it, with its \r\n, is there.
 * - Bounds on what is announced hold before it has come: a bulk that cannot fit, a line without end.
 *
 * Left out: RESP3, inline commands, and integers beyond 2^53.
 *
 * Sources: Redis serialization protocol specification, redis.io/docs/reference/protocol-spec, section "RESP protocol
 * description".
 */
import { assert } from '../base/assert.ts';

export const Token = {
  /** More bytes are needed. */
  incomplete: 0,
  /** Not RESP2, or past a bound. */
  malformed: 1,
  /** A line: [at, at + length). */
  simple: 2,
  /** A line: [at, at + length), its first word a code. */
  error: 3,
  /** `value`. */
  integer: 4,
  /** Bytes: [at, at + length). */
  bulk: 5,
  /** A bulk or an array that there is not. */
  nil: 6,
  /** `value` tokens follow. */
  array: 7,
} as const;
export type Token = (typeof Token)[keyof typeof Token];

/** Longest simple string or error, and longest number with its sign. */
export const LINE_BYTES_MAX = 512;
const NUMBER_BYTES_MAX = 17;
const INTEGER_MAX = Number.MAX_SAFE_INTEGER;
/** Most elements of an array. */
export const ARRAY_MAX = 65536;

const CR = 13;
const LF = 10;
const MINUS = 45;
const ZERO = 48;
const DOLLAR = 36;
const STAR = 42;

/** Decimal digits of a whole number from 0 on. */
export function digitsOf(n: number): number {
  let digits = 1;
  for (let rest = n; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  return digits;
}

/** Writes commands one behind the other into a window of a buffer. */
export class RespWriter {
  readonly bytes: Uint8Array;
  readonly #from: number;
  readonly #end: number;
  #at: number;

  /** Writes to bytes[from .. end). */
  constructor(bytes: Uint8Array, from: number, end: number) {
    assert(from >= 0 && from <= end && end <= bytes.length, 'a window is inside its buffer');
    this.bytes = bytes;
    this.#from = from;
    this.#end = end;
    this.#at = from;
  }

  /** Where the next byte goes; back() takes what was written since. */
  get at(): number {
    return this.#at;
  }

  get writtenBytes(): number {
    return this.#at - this.#from;
  }

  get roomBytes(): number {
    return this.#end - this.#at;
  }

  /** Forgets everything. */
  clear(): void {
    this.#at = this.#from;
  }

  /** Forgets what was written at `at` and later. */
  back(at: number): void {
    assert(at >= this.#from && at <= this.#at, 'only what was written is taken back');
    this.#at = at;
  }

  /** Begins a command of `words` bulk strings, its name among them. */
  command(words: number): void {
    this.#header(STAR, words);
  }

  /** A bulk string of ASCII text. */
  text(text: string): void {
    this.#header(DOLLAR, text.length);
    this.ascii(text);
    this.#line();
  }

  /** A bulk string that is a number. */
  number(n: number): void {
    const digits = digitsOf(n);
    this.#header(DOLLAR, digits);
    this.digits(n);
    this.#line();
  }

  /** A bulk string of all of `source`. */
  data(source: Uint8Array): void {
    this.begin(source.length);
    this.raw(source);
    this.end();
  }

  /** A bulk string of `length` bytes for the caller to fill; where they go. */
  hole(length: number): number {
    this.begin(length);
    const at = this.#at;
    assert(length <= this.#end - at, 'a command fits its buffer');
    this.#at += length;
    this.end();
    return at;
  }

  /** Begins a bulk string of `length` bytes, made of the pieces that follow and ended by end(). */
  begin(length: number): void {
    this.#header(DOLLAR, length);
  }

  raw(source: Uint8Array): void {
    assert(source.length <= this.#end - this.#at, 'a command fits its buffer');
    this.bytes.set(source, this.#at);
    this.#at += source.length;
  }

  ascii(text: string): void {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      assert(code < 128, 'a word of the protocol is ASCII');
      this.#byte(code);
    }
  }

  digits(n: number): void {
    assert(Number.isSafeInteger(n) && n >= 0, 'a number of the protocol is whole');
    const digits = digitsOf(n);
    assert(digits <= this.#end - this.#at, 'a command fits its buffer');
    let rest = n;
    for (let i = digits - 1; i >= 0; i--) {
      this.bytes[this.#at + i] = ZERO + (rest % 10);
      rest = Math.floor(rest / 10);
    }
    this.#at += digits;
  }

  end(): void {
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
    assert(this.#at < this.#end, 'a command fits its buffer');
    this.bytes[this.#at++] = byte;
  }
}

/** Reads tokens; what the last one says is in the fields. */
export class RespReader {
  readonly bytes: Uint8Array;
  readonly #bulkMax: number;
  /** First byte and bytes of a line or a bulk. */
  at = 0;
  length = 0;
  /** Of an integer; elements of an array. */
  value = 0;
  /** First byte behind the token. */
  next = 0;

  /** @param bulkMax bytes that the caller can take of a bulk */
  constructor(bytes: Uint8Array, bulkMax: number) {
    this.bytes = bytes;
    this.#bulkMax = bulkMax;
  }

  /** Reads the token at `from`; only the bytes [from, to) are there. */
  read(from: number, to: number): Token {
    assert(from >= 0 && from <= to && to <= this.bytes.length, 'what has come is in its buffer');
    if (from === to) return Token.incomplete;
    switch (this.bytes[from]) {
      case 43: // +
        return this.#text(from, to, Token.simple);
      case MINUS:
        return this.#text(from, to, Token.error);
      case 58: // :
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
    const answer = this.#lineFrom(from + 1, to, LINE_BYTES_MAX);
    return answer === Token.simple ? token : answer;
  }

  #bulk(from: number, to: number): Token {
    const head = this.#number(from + 1, to, Token.bulk, 1, this.#bulkMax);
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

  /** A line that is a number of -below .. above, to `value`. No sign but a minus, no zeros in front. */
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

  /** A line of text: `at`, `length`. */
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
