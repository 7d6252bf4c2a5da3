/**
 * One blocking connection to a peer that stores pages, with a deadline per exchange and a circuit breaker that limits
 * reconnects.
 *
 *   ready()     true if the connection is up; reconnects once the pause is over
 *   writer      stages the commands of one exchange
 *   send()      sends them; the deadline of the exchange starts
 *   token()     reads the replies, one token or frame at a time
 *
 *   up ── late, closed, malformed ──▶ down ── pause, connect, handshake ──▶ up
 *         pause: none after the first failure, then pauseMs, doubled after each further failure up to pauseMsMax
 *
 * Invariants
 * - An exchange ends when its caller has read all replies, or when the connection is closed. A connection is not used after
 *   a failure, so a late reply is never taken for the reply to another command.
 * - Unrequested bytes close the connection when they are noticed.
 * - An exchange has one deadline, from send() to its last token. Bytes that have arrived are parsed before the deadline is
 *   checked, and no wait is longer than the time left.
 * - Received bytes stay inside the receive window; a reply that needs more is malformed.
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { SwapError } from '../base/errors.ts';
import type { OpenStream, Stream } from './ops.ts';

/** Why the last connection ended. */
export const LinkEnd = {
  none: 0,
  /** The peer closed it, or there was none. */
  closed: 1,
  /** The deadline passed. */
  late: 2,
  /** The peer broke the protocol. */
  malformed: 3,
  /** The peer is unfit to store pages: see LinkOptions.handshake. */
  unfit: 4,
} as const;
export type LinkEnd = (typeof LinkEnd)[keyof typeof LinkEnd];

/** Commands staged in the send window. */
export interface LinkWriter {
  /** Position of the next byte. */
  readonly at: number;
  readonly writtenBytes: number;
  clear(): void;
}

/** The first two results of LinkReader.read(); the others are the protocol's. */
const INCOMPLETE = 0;
const MALFORMED = 1;

/** Reads tokens from received bytes. */
export interface LinkReader {
  /** Reads the token at `from`. @returns 0 if it is incomplete, 1 if it is malformed, else its kind */
  read(from: number, to: number): number;
  /** First byte after the token. */
  readonly next: number;
}

/** Byte ranges of the memory for commands and replies. */
export interface LinkWindows {
  readonly sendAt: number;
  readonly sendBytes: number;
  readonly receiveAt: number;
  readonly receiveBytes: number;
}

export interface LinkOptions<Writer extends LinkWriter, Reader extends LinkReader> {
  /** The writer of the send window. */
  readonly writer: Writer;
  /** The reader of the memory. */
  readonly reader: Reader;
  readonly open: OpenStream;
  readonly clock: Clock;
  readonly memory: Uint8Array;
  readonly windows: LinkWindows;
  /** Deadline of an exchange, ms. */
  readonly deadlineMs: number;
  /** First and longest pause between attempts to connect, ms. */
  readonly pauseMs: number;
  readonly pauseMsMax: number;
  /** Performs the first exchanges of a connection. Returns false if the connection must not be used. */
  readonly handshake: () => boolean;
}

const NS_PER_MS = 1_000_000;

export class Link<Writer extends LinkWriter, Reader extends LinkReader> implements Disposable {
  readonly writer: Writer;
  readonly reader: Reader;
  readonly #options: LinkOptions<Writer, Reader>;
  readonly #from: number;
  readonly #to: number;
  #stream: Stream | null = null;
  #isInHandshake = false;
  #deadlineNs = 0;
  /** Received bytes end at #filled; those before #parsed have been read. */
  #parsed: number;
  #filled: number;
  /** Failures since the last successful exchange. */
  #failures = 0;
  #retryNs = 0;
  #end: LinkEnd = LinkEnd.none;
  #cause: SwapError | null = null;

  constructor(options: LinkOptions<Writer, Reader>) {
    const { receiveAt, receiveBytes } = options.windows;
    this.#options = options;
    this.writer = options.writer;
    this.reader = options.reader;
    this.#from = receiveAt;
    this.#to = receiveAt + receiveBytes;
    this.#parsed = receiveAt;
    this.#filled = receiveAt;
  }

  get isUp(): boolean {
    return this.#stream !== null && !this.#isInHandshake;
  }

  /** Also true during the handshake. */
  get isOpen(): boolean {
    return this.#stream !== null;
  }

  /** Why the last connection ended, or could not be opened. */
  get end(): LinkEnd {
    return this.#end;
  }

  /** The system error of the last failure, or null. */
  get cause(): SwapError | null {
    return this.#cause;
  }

  /** Returns true if the connection is up; connects if the pause is over. */
  ready(): boolean {
    if (this.#stream !== null) return true;
    if (this.#options.clock.nowNs() < this.#retryNs) return false;
    try {
      this.#stream = this.#options.open(this.#options.memory, this.#options.deadlineMs);
    } catch (error) {
      this.#failWith(error);
      return false;
    }
    this.#isInHandshake = true;
    const isFit = this.#options.handshake();
    this.#isInHandshake = false;
    if (!isFit) this.fail(LinkEnd.unfit);
    return this.#stream !== null;
  }

  /** Sends the staged commands and starts the deadline of the exchange. Returns false if the connection ended. */
  send(): boolean {
    const { writer } = this;
    const end = writer.at;
    assert(writer.writtenBytes > 0, 'a command is staged');
    this.#deadlineNs = this.#options.clock.nowNs() + this.#options.deadlineMs * NS_PER_MS;
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

  /** Reads the next token of the replies into `reader`. Returns 0 if the connection ended, never 1 (`malformed`). */
  token(): ReturnType<Reader['read']> {
    if (this.#stream === null) return INCOMPLETE as ReturnType<Reader['read']>;
    for (;;) {
      const token = this.reader.read(this.#parsed, this.#filled) as ReturnType<Reader['read']>;
      if (token === MALFORMED) break;
      if (token !== INCOMPLETE) {
        this.#parsed = this.reader.next;
        return token;
      }
      if (this.#filled === this.#to) break;
      const waitMs = this.#leftMs();
      const got =
        waitMs === 0 ? -1 : this.#io(this.#filled, this.#to - this.#filled, waitMs, false);
      if (got <= 0) {
        this.fail(got === 0 ? LinkEnd.closed : LinkEnd.late);
        return INCOMPLETE as ReturnType<Reader['read']>;
      }
      this.#filled += got;
    }
    this.fail(LinkEnd.malformed);
    return INCOMPLETE as ReturnType<Reader['read']>;
  }

  /** The exchange succeeded: resets the pause. */
  done(): void {
    this.#failures = 0;
  }

  /** Closes the connection and starts the pause. Returns false. */
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

  #failWith(error: unknown): void {
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
    this.#retryNs = clock.nowNs() + (this.#failures === 0 ? 0 : doubled * NS_PER_MS);
    this.#failures++;
  }

  /** Milliseconds until the deadline, rounded up; 0 if it has passed. */
  #leftMs(): number {
    const left = this.#deadlineNs - this.#options.clock.nowNs();
    return left <= 0 ? 0 : Math.ceil(left / NS_PER_MS);
  }

  /** One send or receive. Returns 0 if a system call failed, which ends the connection. */
  #io(at: number, length: number, waitMs: number, isSend: boolean): number {
    const stream = this.#stream;
    if (stream === null) return 0;
    try {
      return isSend ? stream.send(at, length, waitMs) : stream.receive(at, length, waitMs);
    } catch (error) {
      this.#failWith(error);
      return 0;
    }
  }
}
