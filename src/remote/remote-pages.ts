/**
 * Pages on another machine that speaks Redis' protocol: a hash for each 1024 slots of an area, a field a page. Commands
 * are staged one behind the other, sent at once and answered in their order; a fetch is an exchange of its own.
 *
 *   stagePut ─▶ packed bytes are written where it says ─▶ sealPut      HSET chunk field record
 *   stageDelete, stageUnlink                                           HDEL chunk field; UNLINK chunk
 *   send ─▶ answer, answer, ...                                        :1  -OOM ...  or the connection ended
 *   fetch                                                              HGET chunk field
 *
 *   field: 2 bytes slot in its chunk, 4 bytes generation, little-endian
 *
 * Invariants
 * - The generation is part of the field: what is sent for a page that was, put or delete, never touches the page that
 *   is, however late it arrives; on one connection the order is that of sending.
 * - A page that is handed out has the name, the length and the checksum that were sent, and unpacked to 4096 bytes.
 *
 * Memory: one of 384 KiB, for kernels, page, commands and replies. No garbage for a page.
 * Left out: Cluster (all keys are asked of one machine); a batch is acknowledged by memory, not by a replica's (WAIT).
 *
 * Sources: Redis command reference: HSET, HGET, HDEL, UNLINK; "Redis protocol specification" for pipelines.
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type CodecFactory, type PageCodec, PageFormat } from '../codec/codec.ts';
import { type FilteredCodec, filtered } from '../codec/filtered.ts';
import { KERNEL_SCRATCH_BYTES, type Kernels, loadKernels } from '../codec/kernels.ts';
import { createMemory } from '../codec/linear-memory.ts';
import { lz4 } from '../codec/lz4.ts';
import { Link, LinkEnd, type LinkWindows } from './link.ts';
import type { OpenStream } from './ops.ts';
import { isRecordOf, type PageName, RECORD_BYTES_MAX, Record, sealRecord } from './page-record.ts';
import { digitsOf, Token } from './resp.ts';
import { Session } from './session.ts';

/** Pages of a hash on the other machine. */
export const CHUNK_SHIFT = 10;
export const CHUNK_SLOTS: number = 2 ** CHUNK_SHIFT;

export const RemoteResult = {
  done: 0,
  /** The machine is full. */
  noMemory: 1,
  /** It says no for another reason. */
  refused: 2,
  /** The connection ended: done or not, nobody knows. */
  down: 3,
} as const;
export type RemoteResult = (typeof RemoteResult)[keyof typeof RemoteResult];

export const FetchResult = {
  found: 0,
  /** The machine says that it has no such page. */
  absent: 1,
  /** What it has is not that page as it was sent. */
  damaged: 2,
  /** No answer in time, or none to use: the page may be there. */
  late: 3,
} as const;
export type FetchResult = (typeof FetchResult)[keyof typeof FetchResult];

export interface RemoteOptions {
  /** The way there; os/ has one over sockets. */
  readonly open: OpenStream;
  readonly clock: Clock;
  /** Name of this client on the other machine: 1 to 64 letters, digits, `_` and `-`. One living daemon has it. */
  readonly client: string;
  /** Number of this boot, 16 hexadecimal digits, new each time: random. */
  readonly boot: string;
  readonly password?: string;
  readonly user?: string;
  /** Of an exchange, ms; default 500. A page that comes later counts as lost. */
  readonly deadlineMs?: number;
  /** How long pages outlive the last sign of life of their boot, ms; default 10 minutes. */
  readonly leaseMs?: number;
  /** First and longest pause before a dead machine is tried again, ms; default 100 and 30,000. */
  readonly pauseMs?: number;
  readonly pauseMsMax?: number;
  /** Of the packed pages; default LZ4. */
  readonly codec?: CodecFactory;
}

const MEMORY_BYTES = 6 * 65536;
const PAGE_AT = KERNEL_SCRATCH_BYTES;
/** A page, and what kernels may write behind it. */
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
/** Of any command around key and record. */
const COMMAND_BYTES_MAX = 96;
/** Most commands before their answers are read: their replies, at the longest, fit the window. */
export const BATCH_MAX = 128;
const FIELD_BYTES = 6;

export class RemotePages implements Disposable {
  /** Packed bytes of the page that fetch() found: in `memory`, at `fetchedAt`. */
  readonly memory: Uint8Array;
  fetchedAt = 0;
  fetchedBytes = 0;
  fetchedFormat: PageFormat = PageFormat.none;
  readonly #view: DataView;
  readonly #kernels: Kernels;
  readonly #codec: PageCodec;
  readonly #filtered: FilteredCodec | null;
  readonly #link: Link;
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

  /** @throws ERR_ARG_VALUE */
  constructor(options: RemoteOptions) {
    checkOptions(options);
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
      windows,
      deadlineMs: options.deadlineMs ?? 500,
      pauseMs: options.pauseMs ?? 100,
      pauseMsMax: options.pauseMsMax ?? 30_000,
      greet: () => this.#session.greet(),
    });
    this.#session = new Session(this.#link, clock, { ...options, leaseMs });
    this.#prefix = new TextEncoder().encode(this.#session.prefix);
    this.memory.set(this.#prefix, SEND_AT);
    const owner = this.#kernels.checksum(SEND_AT, this.#prefix.length, 0);
    this.#name = { owner, epoch: 0, offset: 0, generation: 0 };
  }

  /** Packed pages of this format can be kept there: what a fetch could unpack. */
  keeps(format: PageFormat): boolean {
    return format === this.#codec.format || format === this.#filtered?.format;
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  get end(): LinkEnd {
    return this.#link.end;
  }

  /** New pages may be put: the boot has its lease. */
  get hasLease(): boolean {
    return this.#session.hasLease;
  }

  /** Hashes of older boots of this client that were given up. */
  get sweptKeys(): number {
    return this.#session.sweptKeys;
  }

  /**
   * Connects, and says why when that cannot be. Optional: ready() connects as well, and waits for better times.
   * @throws ERR_PEER_UNFIT: the machine would drop pages, or does not let us in; ERR_IO_NOT_REACHABLE
   */
  start(): void {
    if (this.ready()) return;
    const { unfit } = this.#session;
    if (this.#link.end === LinkEnd.unfit) {
      const text = `the other machine does not keep pages: ${unfit}`;
      throw new SwapError('ERR_PEER_UNFIT', text, { reason: unfit });
    }
    const cause = this.#link.cause;
    const text = `the other machine does not answer${cause === null ? '' : `: ${cause.message}`}`;
    throw new SwapError('ERR_IO_NOT_REACHABLE', text, { end: this.#link.end }, { cause });
  }

  /** Up, connecting if it is down and time to try. */
  ready(): boolean {
    assert(this.#unanswered === 0 && this.#staged === 0, 'no exchange is under way');
    return this.#link.ready();
  }

  /** Lease and clean-up of older boots, a bounded step; true while there is more of it to do. */
  tend(): boolean {
    assert(this.#unanswered === 0 && this.#staged === 0, 'no exchange is under way');
    if (!this.#link.ready()) return false;
    return this.#session.tend();
  }

  /** Where the packed bytes of the page go, sealPut() or unstage() next; -1: the batch is full. */
  stagePut(epoch: number, offset: number, generation: number, length: number): number {
    assert(length > 0 && length <= RECORD_BYTES_MAX - Record.header, 'packed bytes fit a record');
    if (!this.#stage(Record.header + length)) return -1;
    this.#nameOf(epoch, offset, generation);
    const { writer } = this.#link;
    writer.command(4);
    writer.text('HSET');
    this.#key(epoch, offset >>> CHUNK_SHIFT);
    this.#fieldOf(offset, generation);
    this.#recordAt = writer.hole(Record.header + length);
    return this.#recordAt + Record.header;
  }

  /** The packed bytes are where stagePut() said. */
  sealPut(format: PageFormat, length: number): void {
    sealRecord(this.#view, this.#kernels, this.#recordAt, this.#name, format, length);
  }

  /** Takes the command staged last back. */
  unstage(): void {
    this.#link.writer.back(this.#stagedAt);
    this.#staged--;
  }

  /** False: the batch is full. */
  stageDelete(epoch: number, offset: number, generation: number): boolean {
    if (!this.#stage(0)) return false;
    const { writer } = this.#link;
    writer.command(3);
    writer.text('HDEL');
    this.#key(epoch, offset >>> CHUNK_SHIFT);
    this.#fieldOf(offset, generation);
    return true;
  }

  /** Gives up a whole chunk. False: the batch is full. */
  stageUnlink(epoch: number, chunk: number): boolean {
    if (!this.#stage(0)) return false;
    const { writer } = this.#link;
    writer.command(2);
    writer.text('UNLINK');
    this.#key(epoch, chunk);
    return true;
  }

  /** Sends what is staged; as many answers follow, each asked for by answer(). */
  send(): void {
    this.#unanswered = this.#staged;
    this.#staged = 0;
    if (this.#unanswered > 0) this.#link.send();
  }

  /** The answer to the next command of the batch. */
  answer(): RemoteResult {
    assert(this.#unanswered > 0, 'there is an answer to come');
    this.#unanswered--;
    const answer = this.#answer();
    if (this.#unanswered === 0 && answer !== RemoteResult.down) this.#link.done();
    return answer;
  }

  /** Writes the page to target[at .. at + 4096), or answers why not and leaves the target alone. */
  fetch(
    epoch: number,
    offset: number,
    generation: number,
    target: Uint8Array,
    at: number,
  ): FetchResult {
    let answer = this.#fetch(epoch, offset, generation);
    // A connection that was closed while nobody looked: once more on a new one.
    if (answer === FetchResult.late && this.#link.end === LinkEnd.closed)
      answer = this.#fetch(epoch, offset, generation);
    if (answer === FetchResult.found) target.set(this.#page, at);
    return answer;
  }

  /** Ends the connection; nothing is sent or fetched afterwards. */
  [Symbol.dispose](): void {
    this.#link[Symbol.dispose]();
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
    return this.#open(reader.at, reader.length) ? FetchResult.found : FetchResult.damaged;
  }

  /** Checks the record and unpacks it to #page. */
  #open(at: number, bytes: number): boolean {
    if (!isRecordOf(this.#view, this.#kernels, at, bytes, this.#name)) return false;
    const format = this.#view.getUint8(at + Record.format) as PageFormat;
    if (!this.keeps(format)) return false;
    this.fetchedAt = at + Record.header;
    this.fetchedBytes = bytes - Record.header;
    this.fetchedFormat = format;
    const codec = format === this.#codec.format ? this.#codec : this.#filtered!;
    return codec.decompress(this.fetchedAt, this.fetchedBytes, PAGE_AT) === PAGE_BYTES;
  }

  #answer(): RemoteResult {
    const token = this.#link.token();
    if (token === Token.integer) return RemoteResult.done;
    if (token === Token.incomplete) return RemoteResult.down;
    if (token !== Token.error) {
      this.#link.fail(LinkEnd.malformed);
      return RemoteResult.down;
    }
    const { bytes, at, length } = this.#link.reader;
    const isFull = length >= 3 && bytes[at] === 79 && bytes[at + 1] === 79 && bytes[at + 2] === 77;
    return isFull ? RemoteResult.noMemory : RemoteResult.refused; // "OOM"
  }

  #stage(recordBytes: number): boolean {
    assert(this.#unanswered === 0, 'the answers of the last batch were read');
    const { writer } = this.#link;
    const need = COMMAND_BYTES_MAX + this.#prefix.length + recordBytes;
    if (this.#staged === BATCH_MAX || writer.roomBytes < need) return false;
    this.#stagedAt = writer.at;
    this.#staged++;
    return true;
  }

  #nameOf(epoch: number, offset: number, generation: number): void {
    this.#name.epoch = epoch;
    this.#name.offset = offset;
    this.#name.generation = generation;
  }

  /** The bulk string of a chunk's key. */
  #key(epoch: number, chunk: number): void {
    const { writer } = this.#link;
    writer.begin(this.#prefix.length + digitsOf(epoch) + 1 + digitsOf(chunk));
    writer.raw(this.#prefix);
    writer.digits(epoch);
    writer.ascii('.');
    writer.digits(chunk);
    writer.end();
  }

  #fieldOf(offset: number, generation: number): void {
    this.#field.setUint16(0, offset & (CHUNK_SLOTS - 1), true);
    this.#field.setInt32(2, generation, true);
    this.#link.writer.data(this.#fieldBytes);
  }
}

function checkOptions(options: RemoteOptions): void {
  const { client, boot, deadlineMs = 1, leaseMs = 1, pauseMs = 1, pauseMsMax = 1 } = options;
  const wrong = (name: string, value: string | number, want: string): never => {
    throw new SwapError('ERR_ARG_VALUE', `${name} ${value}: give ${want}`, { [name]: value });
  };
  if (!/^[\w-]{1,64}$/.test(client)) wrong('client', client, '1 to 64 letters, digits, _ and -');
  if (!/^[0-9a-f]{16}$/.test(boot)) wrong('boot', boot, '16 hexadecimal digits');
  for (const [name, ms] of Object.entries({ deadlineMs, leaseMs, pauseMs, pauseMsMax }))
    if (!Number.isInteger(ms) || ms < 1 || ms >= 2 ** 31) wrong(name, ms, 'whole milliseconds');
}
