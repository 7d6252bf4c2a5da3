/**
 * One connection to the other machine, a deadline for each exchange on it, and the circuit breaker that keeps a dead
 * machine from being asked again and again.
 *
 *   ready()     up, or up again: connects when it is time to try
 *   writer      commands of one exchange, one behind the other
 *   send()      all of them go out; the deadline of the exchange begins
 *   token()     the replies, token by token
 *
 *   up ── late, closed, malformed ──▶ down ── after a pause, and greeted ──▶ up
 *         pause: none after the first failure, then the base, doubled with each failure up to the most
 *
 * Invariants
 * - An exchange is over when its caller has read all replies, or the connection is closed: it is never used again after a
 *   failure, so no late reply is taken for another command's.
 * - Bytes that nobody asked for end the connection when they are seen.
 * - An exchange has one deadline, from send() to its last token: what has come is read before it is looked at, and no
 *   wait is longer than what is left of it.
 * - What has come never passes the window; a reply that needs more is malformed.
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { SwapError } from '../base/errors.ts';
import type { OpenStream, Stream } from './ops.ts';
import { RespReader, RespWriter, Token } from './resp.ts';

/** Why the connection ended last. */
export const LinkEnd = {
  none: 0,
  /** No connection, or it was closed by the other side. */
  closed: 1,
  /** The deadline passed. */
  late: 2,
  /** The other side does not speak the protocol. */
  malformed: 3,
  /** The other side was reached, and is not one to keep pages: see LinkOptions.greet. */
  unfit: 4,
} as const;
export type LinkEnd = (typeof LinkEnd)[keyof typeof LinkEnd];

/** Windows of the memory that an exchange works in. */
export interface LinkWindows {
  readonly sendAt: number;
  readonly sendBytes: number;
  readonly receiveAt: number;
  readonly receiveBytes: number;
}

export interface LinkOptions {
  readonly open: OpenStream;
  readonly clock: Clock;
  readonly memory: Uint8Array;
  readonly windows: LinkWindows;
  /** For an exchange, ms. */
  readonly deadlineMs: number;
  /** First and longest pause between tries, ms. */
  readonly pauseMs: number;
  readonly pauseMsMax: number;
  /** The first exchanges on a connection; false when it must not be used, and has not failed by itself. */
  readonly greet: () => boolean;
}

const NS_A_MS = 1_000_000;

export class Link implements Disposable {
  readonly writer: RespWriter;
  readonly reader: RespReader;
  readonly #options: LinkOptions;
  readonly #from: number;
  readonly #to: number;
  #stream: Stream | null = null;
  #isGreeting = false;
  #deadlineNs = 0;
  /** Replies: read up to #parsed, come up to #filled. */
  #parsed: number;
  #filled: number;
  /** Failures since an exchange went well. */
  #failures = 0;
  #retryNs = 0;
  #end: LinkEnd = LinkEnd.none;
  #cause: SwapError | null = null;

  constructor(options: LinkOptions) {
    const { memory, windows } = options;
    const { sendAt, sendBytes, receiveAt, receiveBytes } = windows;
    this.#options = options;
    this.writer = new RespWriter(memory, sendAt, sendAt + sendBytes);
    this.reader = new RespReader(memory, receiveBytes);
    this.#from = receiveAt;
    this.#to = receiveAt + receiveBytes;
    this.#parsed = receiveAt;
    this.#filled = receiveAt;
  }

  get isUp(): boolean {
    return this.#stream !== null && !this.#isGreeting;
  }

  /** There is a connection, perhaps one that is being greeted. */
  get isOpen(): boolean {
    return this.#stream !== null;
  }

  /** How the last connection ended, or why there was none. */
  get end(): LinkEnd {
    return this.#end;
  }

  /** What the system said to the last failure; null when it was not the system. */
  get cause(): SwapError | null {
    return this.#cause;
  }

  /** Up, connecting if it is down and time to try. */
  ready(): boolean {
    if (this.#stream !== null) return true;
    if (this.#options.clock.nowNs() < this.#retryNs) return false;
    try {
      this.#stream = this.#options.open(this.#options.memory, this.#options.deadlineMs);
    } catch (error) {
      this.#failBy(error);
      return false;
    }
    this.#isGreeting = true;
    const isFit = this.#options.greet();
    this.#isGreeting = false;
    if (!isFit) this.fail(LinkEnd.unfit);
    return this.#stream !== null;
  }

  /** Sends what the writer holds and starts the exchange's deadline; false when the connection ended. */
  send(): boolean {
    const { writer } = this;
    const end = writer.at;
    assert(writer.writtenBytes > 0, 'an exchange has a command');
    this.#deadlineNs = this.#options.clock.nowNs() + this.#options.deadlineMs * NS_A_MS;
    writer.clear();
    if (this.#parsed !== this.#filled) return this.fail(LinkEnd.malformed);
    this.#parsed = this.#from;
    this.#filled = this.#from;
    let waitMs = this.#options.deadlineMs;
    for (let at = writer.at; at < end; ) {
      const sent = this.#io(at, end - at, waitMs, true);
      if (sent <= 0) return this.fail(sent === 0 ? LinkEnd.closed : LinkEnd.late);
      at += sent;
      if (at < end) {
        waitMs = this.#leftMs();
        if (waitMs === 0) return this.fail(LinkEnd.late);
      }
    }
    return this.#stream !== null;
  }

  /** The next token of the replies, in `reader`; incomplete: the connection ended. Never malformed. */
  token(): Token {
    if (this.#stream === null) return Token.incomplete;
    for (;;) {
      const token = this.reader.read(this.#parsed, this.#filled);
      if (token === Token.malformed) break;
      if (token !== Token.incomplete) {
        this.#parsed = this.reader.next;
        return token;
      }
      if (this.#filled === this.#to) break;
      const waitMs = this.#leftMs();
      const got =
        waitMs === 0 ? -1 : this.#io(this.#filled, this.#to - this.#filled, waitMs, false);
      if (got <= 0) {
        this.fail(got === 0 ? LinkEnd.closed : LinkEnd.late);
        return Token.incomplete;
      }
      this.#filled += got;
    }
    this.fail(LinkEnd.malformed);
    return Token.incomplete;
  }

  /** The exchange went well: the machine answers. */
  done(): void {
    this.#failures = 0;
  }

  /** Ends the connection; the pause begins. Always false. */
  fail(end: LinkEnd): false {
    if (this.#stream === null) return false;
    this.#cause = null;
    this.#down(end);
    return false;
  }

  [Symbol.dispose](): void {
    this.#stream?.[Symbol.dispose]();
    this.#stream = null;
    this.#retryNs = Number.POSITIVE_INFINITY;
  }

  #failBy(error: unknown): void {
    if (!(error instanceof SwapError)) throw error;
    this.#cause = error;
    this.#down(LinkEnd.closed);
  }

  #down(end: LinkEnd): void {
    this.#stream?.[Symbol.dispose]();
    this.#stream = null;
    this.#end = end;
    this.writer.clear();
    this.#parsed = this.#from;
    this.#filled = this.#from;
    const { pauseMs, pauseMsMax, clock } = this.#options;
    const doubled = Math.min(pauseMs * 2 ** Math.max(0, this.#failures - 1), pauseMsMax);
    this.#retryNs = clock.nowNs() + (this.#failures === 0 ? 0 : doubled * NS_A_MS);
    this.#failures++;
  }

  /** Milliseconds to the deadline, rounded up; 0: it has passed. */
  #leftMs(): number {
    const left = this.#deadlineNs - this.#options.clock.nowNs();
    return left <= 0 ? 0 : Math.ceil(left / NS_A_MS);
  }

  /** One wait of the stream; a failure that is the system's is a connection that ended: 0. */
  #io(at: number, length: number, waitMs: number, isSend: boolean): number {
    const stream = this.#stream;
    if (stream === null) return 0;
    try {
      return isSend ? stream.send(at, length, waitMs) : stream.receive(at, length, waitMs);
    } catch (error) {
      this.#failBy(error);
      return 0;
    }
  }
}
