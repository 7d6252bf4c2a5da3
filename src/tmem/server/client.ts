/**
 * The asynchronous client of the tmem socket: any number of requests in flight, replies in order.
 *
 *   call ─▶ request staged ─▶ one write at the end of the turn        a promise for each call
 *   bytes ─▶ replies, in order ─▶ the oldest call resolves
 *
 * Invariants
 * - Replies arrive in the order of the requests; a reply with another id, operation or count ends the connection.
 * - At most inFlightMax calls are in flight, and staged bytes fit one buffer; further calls wait in order.
 * - When the connection ends, every call rejects: after a rejected put or flush, the contents under its key are
 *   unknown.
 */
import { createConnection, type Socket } from 'node:net';
import { checkInteger, checkPage } from '../../base/arguments.ts';
import { SwapError } from '../../base/errors.ts';
import { checkOptions } from '../../base/options.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import { RECEIVE_BYTES } from '../../net/buffers.ts';
import { checkVector, isSound } from '../protocol/blocking.ts';
import { poolError, poolRequest } from '../protocol/pool-options.ts';
import { Frame, ReplyReader, RequestWriter, type SocketPoolOptions } from '../protocol/requests.ts';
import * as wire from '../protocol/wire.ts';
import { Op } from '../protocol/wire.ts';
import { type TmemFlushResult, TmemGetResult, type TmemPutResult } from '../results.ts';
import { KEY_WORDS } from '../tmem.ts';

/** Limits of a TmemClient. */
export interface TmemClientOptions {
  /** Requests in flight, 1 .. 65536; further calls wait. Default 256. */
  readonly inFlightMax?: number;
}

/** Size of the staged requests: twice the longest request. */
const STAGED_BYTES = 2 * wire.REQUEST_BYTES_MAX;
const LEAD_BYTES = wire.REPLY_BYTES_MAX;

interface Call {
  readonly op: Op;
  readonly count: number;
  readonly id: number;
  /** Reads the reply that the reader describes. */
  readonly done: (reader: ReplyReader) => void;
  readonly failed: (error: SwapError) => void;
}

/** A connection to the tmem socket of a host. */
export class TmemClient implements Disposable {
  readonly #socket: Socket;
  readonly #inFlightMax: number;
  readonly #input: Uint8Array;
  readonly #reader: ReplyReader;
  /** Unprocessed input is [#from, #to). */
  #from = LEAD_BYTES;
  #to = LEAD_BYTES;
  #writer: RequestWriter;
  #spare: RequestWriter;
  #isPlanned = false;
  #isWriting = false;
  readonly #calls: Call[] = [];
  #first = 0;
  /** Calls that wait for space, in order. */
  readonly #waiting: (() => void)[] = [];
  #id = 0;
  #error: SwapError | null = null;
  #onHello: ((error: SwapError | null) => void) | null = null;

  private constructor(path: string, inFlightMax: number) {
    this.#inFlightMax = inFlightMax;
    this.#input = new Uint8Array(LEAD_BYTES + RECEIVE_BYTES);
    this.#reader = new ReplyReader(this.#input);
    this.#writer = new RequestWriter(new Uint8Array(STAGED_BYTES), 0, STAGED_BYTES);
    this.#spare = new RequestWriter(new Uint8Array(STAGED_BYTES), 0, STAGED_BYTES);
    this.#socket = createConnection({
      path,
      onread: {
        buffer: this.#input.subarray(LEAD_BYTES),
        callback: (count) => this.#received(count),
      },
    });
    this.#socket.on('error', (cause) => this.#end(unreachable(path, cause)));
    this.#socket.on('close', () => this.#end(unreachable(path, null)));
  }

  /**
   * Connects to the tmem socket at `path`.
   * @throws SwapError ERR_IO_NOT_REACHABLE; ERR_PEER_PROTOCOL: another program, or another version
   */
  static async connect(path: string, options: TmemClientOptions = {}): Promise<TmemClient> {
    checkOptions(options, 'TmemClient.connect(path, options)', ['inFlightMax']);
    const { inFlightMax = 256 } = options;
    checkInteger('inFlightMax', inFlightMax, 1, 65536);
    const client = new TmemClient(path, inFlightMax);
    await new Promise<void>((resolve, reject) => {
      client.#onHello = (error) => (error === null ? resolve() : reject(error));
      client.#writer.hello();
      client.#flush();
    });
    return client;
  }

  /** True until the connection ends. */
  get isUp(): boolean {
    return this.#error === null;
  }

  /** Opens a pool. @throws SwapError ERR_IO_NO_ROOM: the host refuses it; ERR_IO_ENDED, ERR_IO_NOT_REACHABLE */
  async newPool(options: SocketPoolOptions = {}): Promise<TmemClientPool> {
    const { flags, lease, uuid } = poolRequest(options);
    const number = await this.request(
      { op: Op.newPool, pool: 0, count: 0 },
      (writer, id) => writer.newPool(id, flags, lease, uuid),
      ({ value }) => value,
    );
    if (number < 0) throw poolError(number);
    return new TmemClientPool(this, number);
  }

  /** Closes the connection; calls in flight reject with ERR_IO_ENDED. */
  [Symbol.dispose](): void {
    this.#end(new SwapError('ERR_IO_ENDED', 'the connection to the tmem socket was closed'));
    this.#socket.destroy();
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
  }

  /** For pools: stages a request, now or when there is space, and resolves with the value that `read` returns. */
  request<T>(
    { op, pool, count }: { readonly op: Op; readonly pool: number; readonly count: number },
    write: (writer: RequestWriter, id: number) => void,
    read: (reader: ReplyReader) => T,
  ): Promise<T> {
    return new Promise<T>((resolve, failed) => {
      const stage = (): void => {
        this.#id = (this.#id + 1) >>> 0;
        const id = this.#id;
        if (op !== Op.newPool) this.#writer.head(op, pool, count, id);
        write(this.#writer, id);
        const done = (reader: ReplyReader): void => resolve(read(reader));
        this.#calls.push({ op, count, id, done, failed });
        this.#plan();
      };
      const length = wire.requestBytes(op, count);
      const start = (): void => {
        if (this.#error !== null) failed(this.#error);
        else if (this.#hasSpace(length)) stage();
        else this.#waiting.unshift(start);
      };
      if (this.#error !== null || (this.#waiting.length === 0 && this.#hasSpace(length))) start();
      else this.#waiting.push(start);
    });
  }

  #hasSpace(length: number): boolean {
    return this.#calls.length - this.#first < this.#inFlightMax && this.#writer.fits(length);
  }

  #plan(): void {
    if (this.#isPlanned || this.#isWriting) return;
    this.#isPlanned = true;
    process.nextTick(() => this.#flush());
  }

  /** Writes the staged requests; new requests are staged in the other buffer. */
  #flush(): void {
    this.#isPlanned = false;
    if (this.#isWriting || this.#error !== null || this.#writer.writtenBytes === 0) return;
    const writer = this.#writer;
    this.#writer = this.#spare;
    this.#spare = writer;
    this.#isWriting = true;
    this.#socket.write(writer.bytes.subarray(0, writer.writtenBytes), () => {
      writer.clear();
      this.#isWriting = false;
      this.#admit();
      this.#flush();
    });
  }

  /** Starts waiting calls while there is space. */
  #admit(): void {
    for (let before = -1; this.#waiting.length > 0 && this.#waiting.length !== before; ) {
      before = this.#waiting.length;
      this.#waiting.shift()!();
    }
  }

  /** Always true: only pause() stops reading. */
  #received(count: number): true {
    const { length } = this.#input.subarray(this.#from, this.#to);
    if (length > 0) this.#input.copyWithin(LEAD_BYTES - length, this.#from, this.#to);
    this.#from = LEAD_BYTES - length;
    this.#to = LEAD_BYTES + count;
    while (this.#error === null && this.#readFrame());
    if (this.#first > 1024 && this.#first * 2 > this.#calls.length) {
      this.#calls.splice(0, this.#first);
      this.#first = 0;
    }
    this.#admit();
    return true;
  }

  /** Processes a reply. Returns false if more bytes are needed. */
  #readFrame(): boolean {
    const reader = this.#reader;
    const frame = reader.read(this.#from, this.#to);
    if (frame === Frame.incomplete) return false;
    const isHello = frame === Frame.hello && reader.status === 0;
    const call = frame === Frame.reply ? this.#calls[this.#first] : undefined;
    const isReply =
      call !== undefined &&
      reader.id === call.id &&
      reader.op === call.op &&
      reader.count === call.count &&
      isSound(reader);
    if (!isHello && !isReply) {
      this.#end(
        new SwapError(
          'ERR_PEER_PROTOCOL',
          'the socket is not the tmem socket of a host of this version',
        ),
      );
      this.#socket.destroy();
      return false;
    }
    this.#from = reader.next;
    if (isHello) {
      this.#onHello?.(null);
      this.#onHello = null;
      return true;
    }
    this.#first++;
    call?.done(reader);
    return true;
  }

  #end(error: SwapError): void {
    if (this.#error !== null) return;
    this.#error = error;
    this.#onHello?.(error);
    this.#onHello = null;
    for (const { failed } of this.#calls.splice(this.#first)) failed(error);
    for (const start of this.#waiting.splice(0)) start();
  }
}

/** A pool of the user, opened by TmemClient.newPool(). Object ids are six 32-bit words. */
export class TmemClientPool {
  readonly #client: TmemClient;
  readonly #number: number;

  /** For TmemClient. */
  constructor(client: TmemClient, number: number) {
    this.#client = client;
    this.#number = number;
  }

  /** PUT_PAGE of source[at .. at + 4096), which must not change until the promise settles. */
  put(oid: Uint32Array, index: number, source: Uint8Array, at = 0): Promise<TmemPutResult> {
    checkPage(source, at);
    return this.#request(
      Op.put,
      1,
      (writer) => {
        writer.oid(oid, 0);
        writer.index(index);
        writer.page(source, at);
      },
      ({ bytes, resultsAt }) => bytes[resultsAt] as TmemPutResult,
    );
  }

  /** GET_PAGE into target[at .. at + 4096), if the page is found. */
  get(oid: Uint32Array, index: number, target: Uint8Array, at = 0): Promise<TmemGetResult> {
    checkPage(target, at);
    return this.#request(
      Op.get,
      1,
      (writer) => {
        writer.oid(oid, 0);
        writer.index(index);
      },
      ({ bytes, resultsAt, pagesAt }) => {
        const result = bytes[resultsAt] as TmemGetResult;
        if (result === TmemGetResult.found)
          target.set(bytes.subarray(pagesAt, pagesAt + PAGE_BYTES), at);
        return result;
      },
    );
  }

  /** FLUSH_PAGE. */
  flushPage(oid: Uint32Array, index: number): Promise<TmemFlushResult> {
    return this.#request(
      Op.flushPage,
      1,
      (writer) => {
        writer.oid(oid, 0);
        writer.index(index);
      },
      ({ bytes, resultsAt }) => bytes[resultsAt] as TmemFlushResult,
    );
  }

  /** FLUSH_OBJECT. */
  flushObject(oid: Uint32Array): Promise<TmemFlushResult> {
    return this.#request(
      Op.flushObject,
      0,
      (writer) => writer.oid(oid, 0),
      ({ value }) => value as TmemFlushResult,
    );
  }

  /** DESTROY_POOL: closes the pool on this connection. If no other has it open, drops its pages, whatever its lease. */
  destroy(): Promise<TmemFlushResult> {
    return this.#request(
      Op.destroyPool,
      0,
      () => {},
      ({ value }) => value as TmemFlushResult,
    );
  }

  /**
   * 1 to 32 puts in one request: page i is at source[at + 4096 i], its key at keys[7 i .. 7 i + 7). Its result goes to
   * results[i]. Resolves with the number stored.
   */
  putMany(
    keys: Uint32Array,
    count: number,
    source: Uint8Array,
    at: number,
    results: Uint8Array,
  ): Promise<number> {
    checkVector(keys, count, source, at, results);
    return this.#request(
      Op.put,
      count,
      (writer) => {
        for (let i = 0; i < count; i++) {
          writer.oid(keys, i * KEY_WORDS);
          writer.index(keys[i * KEY_WORDS + 6]!);
          writer.page(source, at + i * PAGE_BYTES);
        }
      },
      ({ bytes, resultsAt, value }) => {
        results.set(bytes.subarray(resultsAt, resultsAt + count));
        return value;
      },
    );
  }

  /** 1 to 32 gets in one request, like putMany(). Resolves with the number found. */
  getMany(
    keys: Uint32Array,
    count: number,
    target: Uint8Array,
    at: number,
    results: Uint8Array,
  ): Promise<number> {
    checkVector(keys, count, target, at, results);
    return this.#request(
      Op.get,
      count,
      (writer) => {
        for (let i = 0; i < count; i++) {
          writer.oid(keys, i * KEY_WORDS);
          writer.index(keys[i * KEY_WORDS + 6]!);
        }
      },
      ({ bytes, resultsAt, pagesAt, value }) => {
        let page = pagesAt;
        for (let i = 0; i < count; i++) {
          results[i] = bytes[resultsAt + i]!;
          if (results[i] !== TmemGetResult.found) continue;
          target.set(bytes.subarray(page, page + PAGE_BYTES), at + i * PAGE_BYTES);
          page += PAGE_BYTES;
        }
        return value;
      },
    );
  }

  #request<T>(
    op: Op,
    count: number,
    write: (writer: RequestWriter) => void,
    read: (reader: ReplyReader) => T,
  ): Promise<T> {
    return this.#client.request({ op, pool: this.#number, count }, write, read);
  }
}

const unreachable = (path: string, cause: Error | null): SwapError =>
  new SwapError(
    'ERR_IO_NOT_REACHABLE',
    `no connection to the tmem socket ${path}: ${cause === null ? 'the host closed it' : cause.message}; start a host with 'frontswap host --tmem PATH'`,
    { path },
    { cause },
  );
