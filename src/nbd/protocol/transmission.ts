/**
 * The transmission phase: requests in, replies out. No request is buffered: the payload of a write goes directly from the input
 * to the disk, in full pages, as it arrives; a read is answered in pieces that fit in the free output.
 *
 *            ┌── READ ──▶ reading ──┐  pieces of the reply, as space allows
 *   idle ────┼── WRITE ─▶ writing ──┼──▶ idle      payload, page by page
 *     ▲      ├── TRIM, WRITE_ZEROES ▶ ranging      bounded pieces of the range
 *     │      └── refused WRITE ▶ skipping          skips the payload, then replies with the error
 *     └── FLUSH, CACHE, BLOCK_STATUS, errors: answered immediately
 *
 * The caller grants an amount of work (work.ts). The session stops after the step that uses it up, even in the middle of a
 * request, and continues there in the next call.
 *
 * Invariants
 * - A step adds at most one row and one bio to the batch; the batch has space for them before the step starts.
 * - Replies are in the order of requests. A reply is written before its bios have ended; rowFailed() corrects it if one fails.
 *   It is sent only after they have ended: with an asynchronous disk, the session waits for its batch (SessionStop.disk) and
 *   starts no other request until then.
 * - After shutDown() no request is started, and those that wait get no reply: a client that connects again repeats them, while
 *   it would report an error to its user, such as a guest that reads from its swap disk.
 * - Disk ranges are checked before a bio is allocated. Sums stay below 2^53 + 2^32; the comparison with the disk size is
 *   still correct, since both sides are integers and the disk ends below 2^53.
 * Cost: per request about 20 field writes, one bio and one call of the disk; no allocation.
 *
 * Sources: 1. nbd doc/proto.md, "Transmission phase", "Request types", "Structured reply types", "Error values".
 */

import { assert } from '../../base/assert.ts';
import type { Input } from '../../base/input.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import { BioFlag, BioOp } from '../../block/bio.ts';
import type { Disk } from '../../block/ops.ts';
import type { NbdExport } from './exports.ts';
import { HoleFinder, RunFinder, STATUS_BYTES_MIN, StatusWriter } from './extents.ts';
import type { Output, RowOwner } from './output.ts';
import { RowKind } from './output.ts';
import * as replies from './replies.ts';
import { Counter, SessionEnd, SessionStop } from './state.ts';
import * as wire from './wire.ts';
import { Command, CommandFlag, Request, WireError } from './wire.ts';
import {
  holeWork,
  REQUEST_WORK,
  readWork,
  statusWork,
  trimWork,
  WRITE_WORK,
  writeWork,
  zeroWork,
} from './work.ts';

/** Range of a trim or write-zeroes in one step if it is not a hole, bytes. */
const RANGE_BYTES = 256 * 1024;
/** Minimum piece of a reply that is split to fill an output, bytes. */
const PIECE_BYTES_MIN = 32768;
/** Minimum piece of a write if more follows, and of a write staged for an asynchronous disk, bytes: one full page. */
const WRITE_BYTES_MIN = 2 * PAGE_BYTES;
/** Maximum range described by one BLOCK_STATUS reply, bytes. The client requests the rest. */
const STATUS_BYTES_MAX = 256 * 1024 * 1024;

const Phase = { idle: 0, reading: 1, writing: 2, skipping: 3, ranging: 4 } as const;
type Phase = (typeof Phase)[keyof typeof Phase];

/** Allowed flags, indexed by command ("Command flags"). */
const FLAGS_ALLOWED = new Uint8Array(8).fill(CommandFlag.fua);
FLAGS_ALLOWED[Command.writeZeroes]! |= CommandFlag.noHole | CommandFlag.fastZero;
FLAGS_ALLOWED[Command.blockStatus]! |= CommandFlag.reqOne;
const NO_ROW = -1;

export class Transmission implements RowOwner {
  readonly export: NbdExport;
  stop: SessionStop = SessionStop.input;
  end: SessionEnd = SessionEnd.none;
  readonly #disk: Disk;
  readonly #structured: boolean;
  readonly #allocation: boolean;
  readonly #counters: Float64Array;
  readonly #runs: RunFinder;
  readonly #holes: HoleFinder;
  readonly #status: StatusWriter;
  #isShuttingDown = false;
  /** Remaining work of the grant; negative: the last step exceeded it. */
  #budget = 0;
  #phase: Phase = Phase.idle;

  // The current request.
  #type = 0;
  #flags = 0;
  readonly #cookie: replies.Cookie = { high: 0, low: 0 };
  /** The next byte of the disk, and the number of bytes left. */
  #offset = 0;
  #left = 0;
  /** The first error among its pieces. */
  #error: number = WireError.ok;
  /** Its row in this batch, or NO_ROW. */
  #row = NO_ROW;
  /** Whether the header of its simple read reply was written. */
  #isHeadWritten = false;
  /** The known end of the current run of data in a structured read. */
  #dataEnd = 0;

  constructor(served: NbdExport, structured: boolean, allocation: boolean, counters: Float64Array) {
    const { maxTransferBytes } = served.disk.limits;
    assert(maxTransferBytes >= wire.UNFRAGMENTED_BYTES_MAX, 'maxTransferBytes >= 64 KiB');
    this.export = served;
    this.#disk = served.disk;
    this.#structured = structured;
    this.#allocation = structured && allocation;
    this.#counters = counters;
    this.#runs = new RunFinder(served.disk);
    this.#holes = new HoleFinder(served.disk);
    this.#status = new StatusWriter(served.disk, this.#holes);
  }

  get isInsideRequest(): boolean {
    return this.#phase !== Phase.idle;
  }

  /** Ends the session when the request in progress is complete. */
  shutDown(): void {
    this.#isShuttingDown = true;
  }

  /** Remaining work of the last grant. */
  get workLeft(): number {
    return this.#budget;
  }

  receive(input: Input, at: number, end: number, out: Output, grant: number): number {
    let next = at;
    this.#budget = grant;
    if (out.isOpen) {
      this.#resume(out);
      return at;
    }
    this.stop = SessionStop.input;
    for (;;) {
      if (!out.hasSpaceFor(this.#disk) && !this.#makeSpace(out)) return next;
      if (this.#isShuttingDown && this.#phase === Phase.idle) this.end ||= SessionEnd.shutdown;
      if (this.end !== SessionEnd.none) break;
      if (out.freeBytes < this.#freeBytesMin || this.#budget <= 0) {
        this.stop = SessionStop.output;
        break;
      }
      if (this.#phase === Phase.idle) {
        if (end - next < Request.bytes) break;
        this.#takeRequest(input.view, next, out);
        next += Request.bytes;
      } else if (this.#phase === Phase.writing || this.#phase === Phase.skipping) {
        const taken =
          this.#phase === Phase.writing
            ? this.#writeSome(input, next, end, out)
            : this.#skipSome(next, end, out);
        if (taken === 0) break;
        next += taken;
      } else if (this.#phase === Phase.reading) {
        if (!this.#readSome(out)) {
          this.stop = SessionStop.output;
          break;
        }
      } else this.#rangeSome(out);
    }
    if (!this.#finishBatch(out)) this.stop = SessionStop.disk;
    else if (this.end !== SessionEnd.none) this.stop = SessionStop.ended;
    return next;
  }

  /** Continues an unfinished batch. Its replies are sent before a new request starts. */
  #resume(out: Output): void {
    if (!this.#finishBatch(out)) this.stop = SessionStop.disk;
    else this.stop = this.end === SessionEnd.none ? SessionStop.output : SessionStop.ended;
  }

  /** Makes space for another step. Returns false, with `stop` set, if receive() must return first. */
  #makeSpace(out: Output): boolean {
    if (!this.#finishBatch(out)) this.stop = SessionStop.disk;
    else if (out.hasSpaceFor(this.#disk) || this.end !== SessionEnd.none) return true;
    else this.stop = out.length > 0 ? SessionStop.output : SessionStop.disk; // other connections use all bios
    return false;
  }

  /** Free output that a step may require, bytes. */
  get #freeBytesMin(): number {
    const isStaged = this.#phase === Phase.writing && !this.#disk.synchronous;
    return isStaged ? replies.FIXED_BYTES_MAX + WRITE_BYTES_MIN : replies.FIXED_BYTES_MAX;
  }

  #finishBatch(out: Output): boolean {
    const isFinished = out.finishBatch(this.#disk, this);
    if (isFinished) this.#row = NO_ROW;
    return isFinished;
  }

  #takeRequest(view: DataView, at: number, out: Output): void {
    if (view.getUint32(at) !== wire.Magic.request) {
      this.end = SessionEnd.requestMagic;
      return;
    }
    this.#flags = view.getUint16(at + Request.flags);
    this.#type = view.getUint16(at + Request.type);
    this.#cookie.high = view.getInt32(at + Request.cookie);
    this.#cookie.low = view.getInt32(at + Request.cookie + 4);
    this.#offset = wire.u64At(view, at + Request.offset);
    this.#left = view.getUint32(at + Request.length);
    this.#error = WireError.ok;
    this.#row = NO_ROW;
    this.#isHeadWritten = false;
    this.#dataEnd = 0;
    this.#budget -= REQUEST_WORK;
    if (this.#type === Command.disc) {
      this.end = SessionEnd.disconnect;
      return;
    }
    if (this.#type === Command.write && this.#left > wire.PAYLOAD_BYTES_MAX) {
      this.end = SessionEnd.writeLength;
      return;
    }
    this.#count();
    const error = this.#validate();
    if (error === WireError.ok) this.#begin(out);
    else if (this.#type === Command.write && this.#left > 0) {
      this.#error = error;
      this.#phase = Phase.skipping;
    } else this.#refuse(error, out);
  }

  /** Counts the request once, for any result. */
  #count(): void {
    const counters = this.#counters;
    switch (this.#type) {
      case Command.read:
        counters[Counter.reads]!++;
        break;
      case Command.write:
        counters[Counter.writes]!++;
        break;
      case Command.flush:
        counters[Counter.flushes]!++;
        break;
      case Command.trim:
        counters[Counter.trims]!++;
        break;
      case Command.cache:
        counters[Counter.caches]!++;
        break;
      case Command.writeZeroes:
        counters[Counter.writeZeroes]!++;
        break;
      case Command.blockStatus:
        counters[Counter.blockStatuses]!++;
        break;
      default: // unknown commands count as refusals
    }
  }

  /** Validates the request before it has any effect. Returns the error, or ok. */
  #validate(): number {
    const type = this.#type;
    const length = this.#left;
    if (type > Command.blockStatus) return WireError.inval;
    const df = type === Command.read && this.#structured ? CommandFlag.df : 0;
    if ((this.#flags & ~(FLAGS_ALLOWED[type]! | df)) !== 0) return WireError.inval;
    if (type === Command.flush)
      return this.#offset === 0 && length === 0 ? WireError.ok : WireError.inval;
    const writes = type === Command.write || type === Command.writeZeroes || type === Command.trim;
    if (writes && this.#disk.readOnly) return WireError.perm;
    if (type === Command.blockStatus && !this.#allocation) return WireError.inval;
    if (length === 0) return WireError.inval;
    if (this.#offset < 0 || this.#offset + length > this.#disk.sizeBytes)
      return type === Command.write || type === Command.writeZeroes
        ? WireError.noSpace
        : WireError.inval;
    if (type === Command.read) return this.#validateRead(length);
    // Allocating the range is as slow as writing it.
    const slow = CommandFlag.noHole | CommandFlag.fastZero;
    if (type === Command.writeZeroes && (this.#flags & slow) === slow) return WireError.notSup;
    return WireError.ok;
  }

  #validateRead(length: number): number {
    if (length > wire.PAYLOAD_BYTES_MAX)
      return this.#structured ? WireError.overflow : WireError.inval;
    return (this.#flags & CommandFlag.df) !== 0 && length > wire.UNFRAGMENTED_BYTES_MAX
      ? WireError.overflow
      : WireError.ok;
  }

  #begin(out: Output): void {
    switch (this.#type) {
      case Command.read:
        this.#counters[Counter.readBytes]! += this.#left;
        this.#phase = Phase.reading;
        break;
      case Command.write:
        this.#counters[Counter.writeBytes]! += this.#left;
        this.#phase = Phase.writing;
        break;
      case Command.trim:
      case Command.writeZeroes:
        this.#phase = Phase.ranging;
        break;
      case Command.flush:
        this.#submit(BioOp.flush, 0, out);
        this.#answer(out);
        break;
      case Command.cache: // a hint; no effect
        this.#answer(out);
        break;
      default:
        this.#phase = Phase.reading; // BLOCK_STATUS waits for free output, like a read
    }
  }

  #refuse(error: number, out: Output): void {
    this.#counters[Counter.refusals]!++;
    const isInvalid =
      error === WireError.inval || error === WireError.noSpace || error === WireError.overflow;
    if (isInvalid) this.export.onInvalid?.();
    const chunked =
      this.#structured && (this.#type === Command.read || this.#type === Command.blockStatus);
    if (chunked) replies.putErrorChunk(out, this.#cookie, error);
    else replies.putSimple(out, this.#cookie, error);
    this.#phase = Phase.idle;
  }

  /** Replies to a request without reply payload. Its bios in this batch may still fail: the row locates the reply. */
  #answer(out: Output): void {
    const fast = (this.#flags & CommandFlag.fastZero) !== 0 && this.#type === Command.writeZeroes;
    const error = this.#error === WireError.notSup && !fast ? WireError.inval : this.#error;
    if (this.#row !== NO_ROW) {
      out.setReply(this.#row, fast ? RowKind.fastZero : RowKind.status, out.length);
      if (error !== WireError.ok) out.setReply(this.#row, RowKind.part, 0); // keeps the first error
    }
    replies.putSimple(out, this.#cookie, error);
    this.#row = NO_ROW;
    this.#phase = Phase.idle;
  }

  /** Submits a bio for the next `length` bytes of the request, with the row of the request. */
  #submit(op: BioOp, length: number, out: Output, data?: Uint8Array, at = 0): void {
    if (this.#row === NO_ROW) this.#row = out.addRow(RowKind.part, 0, 0);
    const bio = out.allocBio(this.#row);
    bio.op = op;
    if ((this.#flags & CommandFlag.fua) !== 0) bio.flags |= BioFlag.fua;
    if ((this.#flags & CommandFlag.noHole) !== 0) bio.flags |= BioFlag.noUnmap;
    bio.offset = op === BioOp.flush ? 0 : this.#offset;
    bio.length = length;
    if (data !== undefined) bio.data = data;
    bio.at = at;
    this.#offset += length;
    this.#left -= length;
    this.#disk.submit(bio);
  }

  /** Writes payload in full pages of the disk, or all that remains. Returns the bytes consumed. */
  #writeSome(input: Input, at: number, end: number, out: Output): number {
    const isStaged = !this.#disk.synchronous;
    const { maxTransferBytes } = this.#disk.limits;
    const granted = Math.max(WRITE_BYTES_MIN, this.#budget / WRITE_WORK);
    let length = Math.min(this.#left, end - at, maxTransferBytes, Math.floor(granted));
    if (isStaged) length = Math.min(length, out.freeBytes - replies.FIXED_BYTES_MAX);
    if (length < this.#left) length -= (this.#offset + length) % PAGE_BYTES;
    if (length <= 0) return 0;
    this.#budget -= writeWork(this.#offset, length);
    if (isStaged)
      this.#submit(BioOp.write, length, out, out.bytes, out.stage(input.bytes, at, length));
    else this.#submit(BioOp.write, length, out, input.bytes, at);
    if (this.#left === 0) this.#answer(out);
    return length;
  }

  #skipSome(at: number, end: number, out: Output): number {
    const length = Math.min(this.#left, end - at);
    this.#left -= length;
    if (this.#left === 0) this.#refuse(this.#error, out);
    return length;
  }

  /** Submits one piece of a trim or write-zeroes: a hole, or up to a multiple of RANGE_BYTES. */
  #rangeSome(out: Output): void {
    let length = Math.min(this.#left, RANGE_BYTES - (this.#offset % RANGE_BYTES));
    const isTrim = this.#type === Command.trim;
    let work = isTrim ? trimWork(length) : zeroWork(this.#offset, length);
    // With NO_HOLE, zeros are stored in holes, too. An asynchronous disk must change more than its tables.
    const mayBeHole = this.#disk.synchronous && (this.#flags & CommandFlag.noHole) === 0;
    const hole = mayBeHole ? this.#holes.find(this.#offset, this.#left) : 0;
    if (hole >= length) {
      length = hole;
      work = holeWork(length);
    }
    this.#budget -= work;
    this.#submit(isTrim ? BioOp.discard : BioOp.writeZeroes, length, out);
    if (this.#left === 0) this.#answer(out);
  }

  /** Writes part of a reply with payload; false if the output must be sent first. */
  #readSome(out: Output): boolean {
    if (this.#type === Command.blockStatus) return this.#blockStatus(out);
    const pieceMin = (this.#flags & CommandFlag.df) !== 0 ? this.#left : PIECE_BYTES_MIN;
    const least = replies.DATA_HEAD_BYTES + Math.min(this.#left, pieceMin);
    if (out.freeBytes < least) return false;
    if (this.#structured) this.#readChunk(out);
    else this.#readSimple(out);
    return true;
  }

  #readSimple(out: Output): void {
    if (!this.#isHeadWritten) {
      this.#row = out.addRow(RowKind.simpleRead, out.length, 0);
      replies.putSimple(out, this.#cookie, WireError.ok);
      this.#isHeadWritten = true;
    } else if (this.#row === NO_ROW) this.#row = out.addRow(RowKind.simpleReadRest, out.length, 0);
    const length = this.#pieceFor(this.#left, out.freeBytes);
    const at = out.length;
    out.growRow(this.#row, length);
    out.length += length;
    this.#submitRead(out, at, length);
    if (this.#left === 0) this.#phase = Phase.idle;
  }

  #readChunk(out: Output): void {
    // The extents of an asynchronous disk do not include bios in flight: read everything then.
    const areRunsKnown = this.#disk.synchronous || out.pending === 0;
    let length = this.#left;
    if (this.#dataEnd > this.#offset) length = Math.min(length, this.#dataEnd - this.#offset);
    else if (areRunsKnown && (this.#flags & CommandFlag.df) === 0) {
      length = this.#runs.find(this.#offset, this.#left);
      this.#budget -= statusWork(length);
      if (this.#runs.isHole) {
        this.#left -= length;
        const done = this.#left === 0;
        replies.putHoleChunk(out, this.#cookie, done, this.#offset, length);
        this.#offset += length;
        if (done) this.#phase = Phase.idle;
        return;
      }
      this.#dataEnd = this.#offset + length;
    }
    length = this.#pieceFor(length, out.freeBytes - replies.DATA_HEAD_BYTES);
    const done = length === this.#left;
    this.#row = out.addRow(RowKind.dataChunk, out.length, length);
    replies.putDataHead(out, this.#cookie, done, this.#offset, length);
    const at = out.length;
    out.length += length;
    this.#submitRead(out, at, length);
    if (done) this.#phase = Phase.idle;
  }

  /**
   * Length of the next read bio, at most `freeBytes`: all of `requestedBytes`, or less: up to the end of a page, and about as
   * much as is granted.
   */
  #pieceFor(requestedBytes: number, freeBytes: number): number {
    const isWhole = (this.#flags & CommandFlag.df) !== 0;
    const granted = isWhole ? requestedBytes : Math.max(PIECE_BYTES_MIN, Math.ceil(this.#budget));
    const { maxTransferBytes } = this.#disk.limits;
    const length = Math.min(requestedBytes, freeBytes, maxTransferBytes, granted);
    return length === requestedBytes ? length : length - ((this.#offset + length) % PAGE_BYTES);
  }

  #submitRead(out: Output, at: number, length: number): void {
    this.#budget -= readWork(this.#offset, length);
    this.#submit(BioOp.read, length, out, out.bytes, at);
  }

  #blockStatus(out: Output): boolean {
    if (out.freeBytes < STATUS_BYTES_MIN) return false;
    const length = Math.min(this.#left, STATUS_BYTES_MAX);
    const onlyOne = (this.#flags & CommandFlag.reqOne) !== 0;
    const range = { offset: this.#offset, length, onlyOne };
    this.#budget -= this.#status.put(out, this.#cookie, range, this.#budget);
    this.#phase = Phase.idle;
    return true;
  }

  rowFailed(out: Output, row: number): void {
    const kind = out.kindOf(row);
    const at = out.atOf(row);
    const raw = out.errorOf(row);
    const error =
      raw === WireError.notSup && kind !== RowKind.fastZero && kind !== RowKind.part
        ? WireError.inval
        : raw;
    this.#counters[Counter.failures]!++;
    if (kind === RowKind.part) {
      if (row === this.#row && this.#error === WireError.ok) this.#error = error;
    } else if (kind === RowKind.dataChunk) {
      replies.replaceByErrorChunk(out, at, out.payloadOf(row), error);
    } else if (kind === RowKind.simpleReadRest) {
      out.length = at; // nothing may follow a truncated payload
      this.end = SessionEnd.readFailed;
    } else {
      replies.setSimpleError(out, at, error);
      if (kind !== RowKind.simpleRead) return;
      out.cut(at + wire.SimpleReply.bytes, out.payloadOf(row));
      if (row === this.#row) this.#phase = Phase.idle; // the error reply is complete
    }
  }
}
