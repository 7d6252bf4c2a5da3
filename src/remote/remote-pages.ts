/**
 * Pages in the memory of a remote machine that speaks the Redis protocol: one hash per 1024 slots of an area, one field
 * per page. Commands are staged, sent together and answered in order; a fetch is a separate exchange.
 *
 *   stagePut ─▶ the caller writes the compressed bytes ─▶ sealPut      HSET chunk field record
 *   stageDelete, stageUnlink                                           HDEL chunk field; UNLINK chunk
 *   send ─▶ readReply, readReply, ...                                  :1  -OOM ...  or the connection ended
 *   fetch                                                              HGET chunk field
 *
 *   field: 2 bytes slot in its chunk, 4 bytes generation, little-endian
 *
 * Invariants
 * - The generation is part of the field, so a late put or delete of an earlier page of the slot never affects the
 *   current one. On one connection, commands run in the order in which they are sent.
 * - fetch() returns a page only if its record has the right identity, length and checksum and decompresses to 4096 bytes.
 *
 * Memory: 384 KiB for kernels, page, commands and replies. A page allocates nothing.
 * Left out: Redis Cluster; replicas (WAIT): a put is acknowledged by the memory of one machine.
 *
 * Sources: Redis command reference: HSET, HGET, HDEL, UNLINK; "Redis protocol specification" for pipelines.
 */
import { checkInteger } from '../base/arguments.ts';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { SwapError } from '../base/errors.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type CodecFactory, type PageCodec, PageFormat } from '../codec/codec.ts';
import { type FilteredCodec, filtered } from '../codec/filtered.ts';
import { KERNEL_SCRATCH_BYTES, type Kernels, loadKernels } from '../codec/kernels.ts';
import { createMemory } from '../codec/linear-memory.ts';
import { lz4 } from '../codec/lz4.ts';
import { Link, LinkEnd, type LinkWindows } from './link.ts';
import type { OpenStream } from './ops.ts';
import { isRecordOf, type PageName, RECORD_BYTES_MAX, Record, sealRecord } from './page-record.ts';
import { digitsOf, RespReader, RespWriter, Token } from './resp.ts';
import { type RespLink, Session } from './session.ts';

/** Slots per hash on the remote machine. */
export const CHUNK_SHIFT = 10;
export const CHUNK_SLOTS: number = 2 ** CHUNK_SHIFT;

/** How a put or a delete ended. */
export const RemoteResult = {
  done: 0,
  /** The machine is full (OOM). */
  noMemory: 1,
  /** Another error reply. */
  refused: 2,
  /** The connection ended before the reply: the command may have run. */
  down: 3,
} as const;
export type RemoteResult = (typeof RemoteResult)[keyof typeof RemoteResult];

/** How a fetch ended. */
export const FetchResult = {
  found: 0,
  /** The machine has no such page. */
  absent: 1,
  /** The record does not match the page, or its checksum fails. */
  damaged: 2,
  /** No usable reply in time. The page may still be there. */
  late: 3,
} as const;
export type FetchResult = (typeof FetchResult)[keyof typeof FetchResult];

/** Connection, identity, deadlines and page format of RemotePages. Times are in ms. */
export interface RemoteOptions {
  /** Opens the connection; see streamSockets(). */
  readonly open: OpenStream;
  readonly clock: Clock;
  /** Name of this client on the remote machine: 1 to 64 letters, digits, `_` and `-`. Use one per running process. */
  readonly client: string;
  /** Id of this boot: 16 random hexadecimal digits, new for each start. */
  readonly boot: string;
  readonly password?: string;
  readonly user?: string;
  /** Deadline of an exchange, ms; default 500. A page that arrives later counts as lost. */
  readonly deadlineMs?: number;
  /** How long pages are kept after the last renewal of their boot's lease, ms; default 10 minutes. */
  readonly leaseMs?: number;
  /** First and longest pause before a reconnect, ms; default 100 and 30,000. */
  readonly pauseMs?: number;
  readonly pauseMsMax?: number;
  /** Codec of the compressed pages; default LZ4. */
  readonly codec?: CodecFactory;
}

/** Keys of RemoteOptions. */
const optionKeys: readonly (keyof RemoteOptions)[] = [
  ...(['open', 'clock', 'client', 'boot', 'password', 'user', 'deadlineMs'] as const),
  ...(['leaseMs', 'pauseMs', 'pauseMsMax', 'codec'] as const),
];
/** Longest time of an option: setTimeout and poll(2) take 31 bits. */
const MS_MAX = 2 ** 31 - 1;
/** Longest user name and password, characters: both fit one command. */
const CREDENTIAL_LENGTH_MAX = 4096;

const MEMORY_BYTES = 6 * 65536;
const PAGE_AT = KERNEL_SCRATCH_BYTES;
/** One page for the page itself, one that the kernels may overrun into. */
const SEND_AT = PAGE_AT + 2 * PAGE_BYTES;
const SEND_BYTES = 160 * 1024;
const RECEIVE_AT = SEND_AT + SEND_BYTES;
const RECEIVE_BYTES = 128 * 1024;
const windows: LinkWindows = {
  sendAt: SEND_AT,
  sendBytes: SEND_BYTES,
  receiveAt: RECEIVE_AT,
  receiveBytes: RECEIVE_BYTES,
};
/** Longest command, without key prefix and record. */
const COMMAND_BYTES_MAX = 96;
/** Maximum number of commands per batch; their longest replies fit the receive window. */
export const BATCH_MAX = 128;
const FIELD_BYTES = 6;
/** First word of the error reply of a full machine. */
const OOM: Uint8Array = new TextEncoder().encode('OOM');

/** A connection to a Redis-protocol server that stores compressed pages. */
export class RemotePages implements Disposable {
  /** After a fetch() that found a page: its compressed bytes are memory[fetchedAt .. fetchedAt + fetchedBytes). */
  readonly memory: Uint8Array;
  fetchedAt = 0;
  fetchedBytes = 0;
  fetchedFormat: PageFormat = PageFormat.none;
  readonly #view: DataView;
  readonly #kernels: Kernels;
  readonly #codec: PageCodec;
  readonly #filtered: FilteredCodec | null;
  readonly #link: RespLink;
  readonly #session: Session;
  readonly #prefix: Uint8Array;
  readonly #page: Uint8Array;
  readonly #field = new DataView(new ArrayBuffer(FIELD_BYTES));
  readonly #fieldBytes: Uint8Array = new Uint8Array(this.#field.buffer);
  readonly #name: PageName;
  #staged = 0;
  #stagedAt = 0;
  #recordAt = 0;
  #unanswered = 0;

  /** @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN */
  constructor(options: RemoteOptions) {
    checkRemoteOptions(options);
    const { clock, codec = lz4, leaseMs = 600_000 } = options;
    const memory = createMemory(MEMORY_BYTES);
    this.memory = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
    this.#page = this.memory.subarray(PAGE_AT, PAGE_AT + PAGE_BYTES);
    this.#kernels = loadKernels(memory);
    this.#codec = codec(memory, this.#kernels);
    this.#filtered = filtered(this.#codec, memory, this.#kernels);
    this.#link = new Link({
      open: options.open,
      clock,
      memory: this.memory,
      writer: new RespWriter(this.memory, SEND_AT, SEND_AT + SEND_BYTES),
      reader: new RespReader(this.memory, RECEIVE_BYTES),
      windows,
      deadlineMs: options.deadlineMs ?? 500,
      pauseMs: options.pauseMs ?? 100,
      pauseMsMax: options.pauseMsMax ?? 30_000,
      handshake: () => this.#session.handshake(),
    });
    this.#session = new Session(this.#link, clock, { ...options, leaseMs });
    this.#prefix = new TextEncoder().encode(this.#session.prefix);
    this.memory.set(this.#prefix, SEND_AT);
    const owner = this.#kernels.checksum(SEND_AT, this.#prefix.length, 0);
    this.#name = { owner, epoch: 0, offset: 0, generation: 0 };
  }

  /** Whether compressed pages of this format can be put: those that a fetch can decompress. */
  keeps(format: PageFormat): boolean {
    return format === this.#codec.format || format === this.#filtered?.format;
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** Why the last connection ended. */
  get end(): LinkEnd {
    return this.#link.end;
  }

  /** True if pages may be put. Without a lease, another boot could delete them. */
  get hasLease(): boolean {
    return this.#session.hasLease;
  }

  /** Number of deleted hashes of dead boots of this client. */
  get sweptKeys(): number {
    return this.#session.sweptKeys;
  }

  /**
   * Connects, and throws if that fails. Optional: the other calls also connect, and retry later.
   * @throws SwapError ERR_PEER_UNFIT: the machine may evict pages, or rejects the login; ERR_IO_NOT_REACHABLE
   */
  start(): void {
    if (this.ready()) return;
    const { unfit } = this.#session;
    if (this.#link.end === LinkEnd.unfit) {
      const text = `the remote machine cannot be used for pages: ${unfit}`;
      throw new SwapError('ERR_PEER_UNFIT', text, { reason: unfit });
    }
    const cause = this.#link.cause;
    const text = `cannot connect to the remote machine${cause === null ? '' : `: ${cause.message}`}`;
    throw new SwapError('ERR_IO_NOT_REACHABLE', text, { end: this.#link.end }, { cause });
  }

  /** Returns true if the connection is up; connects if the pause is over. */
  ready(): boolean {
    assert(this.#unanswered === 0 && this.#staged === 0, 'no exchange is in flight');
    return this.#link.ready();
  }

  /** Runs a bounded maintenance step: renews the lease, deletes pages of dead boots. Returns true while more is due. */
  maintain(): boolean {
    assert(this.#unanswered === 0 && this.#staged === 0, 'no exchange is in flight');
    if (!this.#link.ready()) return false;
    return this.#session.maintain();
  }

  /**
   * Stages a put. Returns the position in `memory` at which the caller must write the compressed bytes before
   * sealPut(), or -1 if the batch is full.
   */
  stagePut(epoch: number, offset: number, generation: number, length: number): number {
    assert(
      length > 0 && length <= RECORD_BYTES_MAX - Record.header,
      'the compressed bytes fit a record',
    );
    if (!this.#stage(Record.header + length)) return -1;
    this.#nameOf(epoch, offset, generation);
    const { writer } = this.#link;
    writer.command(4);
    writer.text('HSET');
    this.#key(epoch, offset >>> CHUNK_SHIFT);
    this.#fieldOf(offset, generation);
    this.#recordAt = writer.reserve(Record.header + length);
    return this.#recordAt + Record.header;
  }

  /** Completes the put whose bytes the caller has written. */
  sealPut(format: PageFormat, length: number): void {
    sealRecord(this.#view, this.#kernels, this.#recordAt, this.#name, format, length);
  }

  /** Removes the last staged command. */
  unstage(): void {
    this.#link.writer.rewind(this.#stagedAt);
    this.#staged--;
  }

  /** Stages the deletion of a page. Returns false if the batch is full. */
  stageDelete(epoch: number, offset: number, generation: number): boolean {
    if (!this.#stage(0)) return false;
    const { writer } = this.#link;
    writer.command(3);
    writer.text('HDEL');
    this.#key(epoch, offset >>> CHUNK_SHIFT);
    this.#fieldOf(offset, generation);
    return true;
  }

  /** Stages the deletion of a chunk. Returns false if the batch is full. */
  stageUnlink(epoch: number, chunk: number): boolean {
    if (!this.#stage(0)) return false;
    const { writer } = this.#link;
    writer.command(2);
    writer.text('UNLINK');
    this.#key(epoch, chunk);
    return true;
  }

  /** Sends the staged commands. Call readReply() once per command. */
  send(): void {
    this.#unanswered = this.#staged;
    this.#staged = 0;
    if (this.#unanswered > 0) this.#link.send();
  }

  /** Reads the reply to the next command of the batch. */
  readReply(): RemoteResult {
    assert(this.#unanswered > 0, 'a reply is outstanding');
    this.#unanswered--;
    const result = this.#readReply();
    if (this.#unanswered === 0 && result !== RemoteResult.down) this.#link.done();
    return result;
  }

  /** Fetches a page to target[at .. at + 4096); the target is unchanged unless the result is `found`. */
  fetch(
    epoch: number,
    offset: number,
    generation: number,
    target: Uint8Array,
    at: number,
  ): FetchResult {
    let result = this.#fetch(epoch, offset, generation);
    // The peer may have closed an idle connection: retry once on a new one.
    if (result === FetchResult.late && this.#link.end === LinkEnd.closed)
      result = this.#fetch(epoch, offset, generation);
    if (result === FetchResult.found) target.set(this.#page, at);
    return result;
  }

  /** Closes the connection; every later fetch returns `late`. */
  [Symbol.dispose](): void {
    this.#link[Symbol.dispose]();
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
  }

  #fetch(epoch: number, offset: number, generation: number): FetchResult {
    if (!this.ready()) return FetchResult.late;
    const { writer, reader } = this.#link;
    writer.command(3);
    writer.text('HGET');
    this.#key(epoch, offset >>> CHUNK_SHIFT);
    this.#fieldOf(offset, generation);
    if (!this.#link.send()) return FetchResult.late;
    const token = this.#link.token();
    if (token === Token.incomplete || token === Token.error) return FetchResult.late;
    if (token !== Token.nil && token !== Token.bulk) {
      this.#link.fail(LinkEnd.malformed);
      return FetchResult.late;
    }
    this.#link.done();
    if (token === Token.nil) return FetchResult.absent;
    this.#nameOf(epoch, offset, generation);
    return this.#openRecord(reader.at, reader.length) ? FetchResult.found : FetchResult.damaged;
  }

  /** Checks the record and decompresses it to #page. */
  #openRecord(at: number, bytes: number): boolean {
    if (!isRecordOf(this.#view, this.#kernels, at, bytes, this.#name)) return false;
    const format = this.#view.getUint8(at + Record.format) as PageFormat;
    if (!this.keeps(format)) return false;
    this.fetchedAt = at + Record.header;
    this.fetchedBytes = bytes - Record.header;
    this.fetchedFormat = format;
    const codec = format === this.#codec.format ? this.#codec : this.#filtered!;
    return codec.decompress(this.fetchedAt, this.fetchedBytes, PAGE_AT) === PAGE_BYTES;
  }

  #readReply(): RemoteResult {
    const token = this.#link.token();
    if (token === Token.integer) return RemoteResult.done;
    if (token === Token.incomplete) return RemoteResult.down;
    if (token !== Token.error) {
      this.#link.fail(LinkEnd.malformed);
      return RemoteResult.down;
    }
    const { bytes, at, length } = this.#link.reader;
    const isFull = length >= OOM.length && OOM.every((byte, i) => bytes[at + i] === byte);
    return isFull ? RemoteResult.noMemory : RemoteResult.refused;
  }

  #stage(recordBytes: number): boolean {
    assert(this.#unanswered === 0, 'all replies of the last batch were read');
    const { writer } = this.#link;
    const need = COMMAND_BYTES_MAX + this.#prefix.length + recordBytes;
    if (this.#staged === BATCH_MAX || writer.freeBytes < need) return false;
    this.#stagedAt = writer.at;
    this.#staged++;
    return true;
  }

  #nameOf(epoch: number, offset: number, generation: number): void {
    this.#name.epoch = epoch;
    this.#name.offset = offset;
    this.#name.generation = generation;
  }

  /** Writes the key of a chunk as a bulk string. */
  #key(epoch: number, chunk: number): void {
    const { writer } = this.#link;
    writer.beginBulk(this.#prefix.length + digitsOf(epoch) + 1 + digitsOf(chunk));
    writer.raw(this.#prefix);
    writer.digits(epoch);
    writer.ascii('.');
    writer.digits(chunk);
    writer.endBulk();
  }

  #fieldOf(offset: number, generation: number): void {
    this.#field.setUint16(0, offset & (CHUNK_SLOTS - 1), true);
    this.#field.setInt32(2, generation, true);
    this.#link.writer.data(this.#fieldBytes);
  }
}

/** @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN */
function checkRemoteOptions(options: RemoteOptions): void {
  checkOptions(options, 'new RemotePages(options)', optionKeys);
  const { client, boot, user, password } = options;
  const { deadlineMs = 1, leaseMs = 1, pauseMs = 1, pauseMsMax = 1 } = options;
  if (!isText(client, /^[\w-]{1,64}$/)) wrong('client', client, '1 to 64 letters, digits, _ and -');
  if (!isText(boot, /^[0-9a-f]{16}$/)) wrong('boot', boot, '16 hexadecimal digits in lower case');
  const credential = new RegExp(`^[^]{0,${CREDENTIAL_LENGTH_MAX}}$`);
  const allowed = `text of at most ${CREDENTIAL_LENGTH_MAX} characters`;
  if (user !== undefined && !isText(user, credential)) wrong('user', typeof user, allowed);
  if (password !== undefined && !isText(password, credential))
    wrong('password', typeof password, allowed); // its value must not reach a log
  for (const [name, ms] of Object.entries({ deadlineMs, leaseMs, pauseMs, pauseMsMax }))
    checkInteger(name, ms, 1, MS_MAX);
  for (const name of ['open', 'codec'] as const)
    if (options[name] !== undefined && typeof options[name] !== 'function')
      wrong(name, typeof options[name], 'a function');
}

function wrong(name: string, value: unknown, allowed: string): never {
  const text = `${name} is '${String(value)}'; use ${allowed}`;
  throw new SwapError('ERR_ARG_VALUE', text, { name, value: String(value) });
}

const isText = (value: unknown, pattern: RegExp): boolean =>
  typeof value === 'string' && pattern.test(value);
