/**
 * The client's side of the wire: writes requests into a window of a memory, parses replies from received bytes. No
 * sockets, no allocation.
 * Invariants
 * - The reader reads only bytes [from, to). A frame is complete, or incomplete and a valid prefix so far, or malformed.
 * - The length of a reply is checked against its operation, count and value before the reader waits for its bytes.
 */
import { assert } from '../../base/assert.ts';
import { BufferWindow } from '../../base/buffer-window.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import * as wire from './wire.ts';
import { Head, Op } from './wire.ts';

/** What ReplyReader.read() found; the first two are those of remote/link.ts. */
export const Frame = { incomplete: 0, malformed: 1, hello: 2, reply: 3 } as const;
export type Frame = (typeof Frame)[keyof typeof Frame];

/** Kind of a pool of the tmem socket; the default is ephemeral and ends with its connection. */
export interface SocketPoolOptions {
  readonly persistent?: boolean;
  /** Persistent pools: a get removes the page. */
  readonly exclusiveGets?: boolean;
  /** The pool of this name among those of the user: 128 bits in hex, with or without dashes. */
  readonly uuid?: string;
  /** Seconds that a persistent pool with a uuid outlives its last connection; Infinity: while the host runs. Default 0. */
  readonly leaseSeconds?: number;
}

/** Writes requests to bytes[from .. end). */
export class RequestWriter extends BufferWindow {
  readonly #view: DataView;

  constructor(bytes: Uint8Array, from: number, end: number) {
    super(bytes, from, end);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Whether a request with a body of `length` bytes fits. */
  fits(length: number): boolean {
    return Head.bytes + length <= this.freeBytes;
  }

  hello(): void {
    const view = this.#view;
    const at = this.take(wire.ClientHello.bytes);
    view.setUint32(at, wire.MAGIC_LOW, true);
    view.setUint32(at + 4, wire.MAGIC_HIGH, true);
    view.setUint32(at + wire.ClientHello.version, wire.VERSION, true);
    view.setUint32(at + wire.ClientHello.zero, 0, true);
  }

  /** The header of a request; its body follows. */
  head(op: Op, pool: number, count: number, id: number): void {
    const view = this.#view;
    const at = this.take(Head.bytes);
    view.setUint32(at + Head.length, wire.requestBytes(op, count), true);
    view.setUint8(at + Head.op, op);
    view.setUint8(at + Head.pool, pool);
    view.setUint16(at + Head.count, count, true);
    view.setUint32(at + Head.id, id, true);
    view.setUint32(at + Head.value, 0, true);
  }

  /** The object id oid[at .. at + 6). */
  oid(oid: Uint32Array, oidAt: number): void {
    const view = this.#view;
    const at = this.take(wire.OID_BYTES);
    view.setUint32(at, oid[oidAt]!, true);
    view.setUint32(at + 4, oid[oidAt + 1]!, true);
    view.setUint32(at + 8, oid[oidAt + 2]!, true);
    view.setUint32(at + 12, oid[oidAt + 3]!, true);
    view.setUint32(at + 16, oid[oidAt + 4]!, true);
    view.setUint32(at + 20, oid[oidAt + 5]!, true);
  }

  index(index: number): void {
    this.#view.setInt32(this.take(4), index | 0, true);
  }

  /** The page source[from .. from + 4096). */
  page(source: Uint8Array, from: number): void {
    const at = this.take(PAGE_BYTES);
    this.bytes.set(
      from === 0 && source.length === PAGE_BYTES
        ? source
        : source.subarray(from, from + PAGE_BYTES),
      at,
    );
  }

  /** @param uuid 32 hex digits; '': none */
  newPool(id: number, flags: number, lease: number, uuid: string): void {
    this.head(Op.newPool, 0, 0, id);
    const at = this.take(wire.NewPool.bytes);
    this.#view.setUint32(at + wire.NewPool.flags, flags, true);
    this.#view.setUint32(at + wire.NewPool.lease, lease, true);
    for (let i = 0; i < 16; i++)
      this.bytes[at + wire.NewPool.uuid + i] =
        uuid === '' ? 0 : Number.parseInt(uuid.slice(2 * i, 2 * i + 2), 16);
  }
}

/** Reads hellos and replies. The fields describe the last one. */
export class ReplyReader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  #hasHello = false;
  /** Status of the hello. */
  status = 0;
  op = 0;
  count = 0;
  id = 0;
  value = 0;
  /** First result, and first page of a get. */
  resultsAt = 0;
  pagesAt = 0;
  /** First byte after the frame. */
  next = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** A new connection: the next frame is a hello. */
  reset(): void {
    this.#hasHello = false;
  }

  /** Reads the frame at `from`; bytes [from, to) have been received. */
  read(from: number, to: number): Frame {
    assert(from >= 0 && from <= to && to <= this.bytes.length, 'the range is inside the buffer');
    const view = this.#view;
    if (!this.#hasHello) return this.#hello(from, to);
    if (to - from < Head.bytes) return Frame.incomplete;
    const op = view.getUint8(from + Head.op);
    const count = view.getUint16(from + Head.count, true);
    const value = view.getInt32(from + Head.value, true);
    const length = view.getUint32(from + Head.length, true);
    if (wire.requestBytes(op, count) < 0 || view.getUint8(from + Head.pool) !== 0)
      return Frame.malformed;
    if (!wire.isReplyBytes(op, count, value, length)) return Frame.malformed;
    if (to - from < Head.bytes + length) return Frame.incomplete;
    this.op = op;
    this.count = count;
    this.value = value;
    this.id = view.getUint32(from + Head.id, true);
    this.resultsAt = from + Head.bytes;
    this.pagesAt = this.resultsAt + wire.resultBytes(count);
    this.next = from + Head.bytes + length;
    return Frame.reply;
  }

  #hello(from: number, to: number): Frame {
    const { ServerHello } = wire;
    const view = this.#view;
    if (to - from < ServerHello.bytes) return Frame.incomplete;
    const isMagic =
      view.getUint32(from, true) === wire.MAGIC_LOW &&
      view.getUint32(from + 4, true) === wire.MAGIC_HIGH;
    if (!isMagic || view.getUint32(from + ServerHello.pagesMax, true) < wire.PAGES_MAX)
      return Frame.malformed;
    this.status = view.getUint32(from + ServerHello.status, true);
    this.next = from + ServerHello.bytes;
    this.#hasHello = true;
    return Frame.hello;
  }
}
