/**
 * The handshake phase: fixed newstyle negotiation, from the greeting to the choice of an export.
 *
 *   greeting sent ─▶ client flags ─▶ option ⇄ replies … ─▶ EXPORT_NAME or GO ─▶ chosen
 *                                       ├ LIST: replies as output space allows
 *                                       └ STARTTLS: ACK ─▶ securing ── secured() ─▶ option …
 *
 * Invariants
 * - An option is processed only when all its data has arrived; its data is limited to OPTION_DATA_BYTES_MAX.
 *   The data of a longer option is skipped and an error is sent; above OPTION_BYTES_MAX the session ends.
 * - Lengths and counts inside an option are checked against its remaining bytes before use.
 * - No byte is processed between STARTTLS and secured(), and input after STARTTLS ends the session: bytes that an attacker
 *   inserts there are never treated as bytes that came through TLS.
 * - secured() discards everything negotiated without encryption, except the client flags, which are not sent again.
 * - With TLS required, no reply before secured() depends on exports or on the data of an option.
 * - An option that opens an export of another thread is not processed here: the session stops with handOver and the option
 *   still in the input. The other thread processes this one option, and returns the negotiation if the export stays closed.
 * Left out: extended headers; they get NBD_REP_ERR_UNSUP, as the protocol requires.
 *
 * Sources: 1. nbd doc/proto.md, "Fixed newstyle negotiation", "Option types", "Option reply types", "TLS support".
 */

import { assert } from '../../base/assert.ts';
import type { Input } from '../../base/input.ts';
import {
  type Admit,
  blockSizesOf,
  findExport,
  type NbdExport,
  type NbdExports,
  putString,
  stringAt,
  transmissionFlagsOf,
} from './exports.ts';
import type { Output } from './output.ts';
import { SessionEnd, SessionStop, type TlsMode } from './state.ts';
import * as wire from './wire.ts';
import {
  Info,
  Option,
  OptionHead,
  OptionReplyHead,
  OptionReply as Reply,
  STRING_BYTES_MAX,
} from './wire.ts';

/** Maximum data of an option that is processed, bytes: a name and a context query of maximum length. */
export const OPTION_DATA_BYTES_MAX: number = 2 * STRING_BYTES_MAX - OptionHead.bytes;
/** Maximum data of an option that is answered at all, bytes. */
const OPTION_BYTES_MAX = 65536;
/** Maximum number of options before the choice of an export. */
const OPTION_COUNT_MAX = 128;
/** Maximum size of the replies to one option, bytes: name, description and three fixed ones, with headers. */
const REPLIES_BYTES_MAX = 2 * STRING_BYTES_MAX + 512;

/** No reply to write: it was already written, or follows later. */
const NO_REPLY = 0;
const KNOWN: ReadonlySet<number> = new Set(Object.values(Option));

const nameOf = (data: Input, at: number, length: number): string | null =>
  length > STRING_BYTES_MAX ? null : stringAt(data.bytes, at, length);

/** What a negotiation without TLS has agreed on so far; valid between two options. */
export interface HandshakeState {
  readonly noZeroes: boolean;
  readonly structured: boolean;
  /** Name of the export with base:allocation selected; null: none. */
  readonly allocationFor: string | null;
  readonly optionCount: number;
}

export class Handshake {
  stop: SessionStop = SessionStop.input;
  end: SessionEnd = SessionEnd.none;
  /** The export chosen by the client, or null. */
  chosen: NbdExport | null = null;
  structured = false;
  /** The export with base:allocation selected. */
  allocationFor: NbdExport | null = null;
  isShuttingDown = false;
  /** The export of another thread that the client requests; see SessionStop.handOver. */
  handOverTo: NbdExport | null = null;
  /** Whether this object processes one option for another thread. */
  readonly #isVisiting: boolean;
  readonly #exports: NbdExports;
  readonly #admit: Admit;
  readonly #tls: TlsMode;
  /** The connection is encrypted. */
  #isSecure = false;
  /** STARTTLS was accepted; secured() has not been called. */
  #isSecuring = false;
  #flagsSeen = false;
  #noZeroes = false;
  #optionCount = 0;
  /** Remaining data bytes of an oversized option, and its type. */
  #skipBytes = 0;
  #skipOption = 0;
  /** The exports that LIST has still to send; null when no LIST is in progress. */
  #listing: Iterator<NbdExport> | null = null;

  /**
   * @param admit called for each export that a client opens, not for NBD_OPT_INFO
   * @param begun what another thread has negotiated so far; null: nothing, so call open()
   * @param isVisiting the negotiation returns to that thread after one option that opens no export
   */
  constructor(
    exports: NbdExports,
    admit: Admit,
    tls: TlsMode,
    begun: HandshakeState | null = null,
    isVisiting = false,
  ) {
    this.#exports = exports;
    this.#admit = admit;
    this.#tls = tls;
    this.#isVisiting = isVisiting;
    if (begun === null) return;
    this.#flagsSeen = true;
    this.#noZeroes = begun.noZeroes;
    this.structured = begun.structured;
    this.#optionCount = begun.optionCount;
    const { allocationFor } = begun;
    this.allocationFor = allocationFor === null ? null : (exports.get(allocationFor) ?? null);
  }

  /** For the thread that continues: valid when `stop` is handOver. */
  get state(): HandshakeState {
    return {
      noZeroes: this.#noZeroes,
      structured: this.structured,
      allocationFor: this.allocationFor?.name ?? null,
      optionCount: this.#optionCount,
    };
  }

  open(out: Output): void {
    const { view } = out;
    const at = out.length;
    view.setUint32(at, wire.Magic.initHigh);
    view.setUint32(at + 4, wire.Magic.initLow);
    view.setUint32(at + wire.Greeting.option, wire.Magic.optionHigh);
    view.setUint32(at + wire.Greeting.option + 4, wire.Magic.optionLow);
    const { fixedNewstyle, noZeroes } = wire.HandshakeFlag;
    view.setUint16(at + wire.Greeting.flags, fixedNewstyle | noZeroes);
    out.length += wire.Greeting.bytes;
  }

  secured(): void {
    assert(this.#isSecuring, 'STARTTLS was accepted');
    this.#isSecuring = false;
    this.#isSecure = true;
    this.structured = false;
    this.allocationFor = null;
  }

  shutDown(): void {
    this.isShuttingDown = true;
  }

  receive(input: Input, at: number, end: number, out: Output): number {
    assert(!this.#isSecuring, 'the TLS handshake is complete');
    let next = at;
    for (;;) {
      if (this.end !== SessionEnd.none) return this.#stopped(SessionStop.ended, next);
      if (this.chosen !== null) return this.#stopped(SessionStop.output, next);
      if (out.freeBytes < REPLIES_BYTES_MAX) return this.#stopped(SessionStop.output, next);
      if (this.#listing !== null) {
        this.#continueList(out);
      } else if (this.#skipBytes > 0) {
        if (next === end) return this.#stopped(SessionStop.input, next);
        next = this.#skip(next, end, out);
      } else {
        const bytes = this.#unitBytes(input.view, next, end);
        if (bytes > end - next) return this.#stopped(SessionStop.input, next);
        this.handOverTo = this.#elsewhere(input, next, bytes);
        if (this.handOverTo !== null) return this.#stopped(SessionStop.handOver, next);
        this.#takeUnit(input, next, out);
        next += bytes;
        if (this.#isSecuring) return this.#startTls(next, end, out);
        // Only one option with data per turn: negotiations must not delay clients in the transmission phase.
        if (bytes > OptionHead.bytes && this.end === SessionEnd.none)
          return this.#stopped(this.#stopAfterOption, next);
      }
    }
  }

  get #stopAfterOption(): SessionStop {
    return this.#isVisiting && this.chosen === null ? SessionStop.handOver : SessionStop.output;
  }

  /** Returns the export of another thread that this unit opens; null: it opens none. */
  #elsewhere({ view, bytes }: Input, at: number, unitBytes: number): NbdExport | null {
    const length = unitBytes - OptionHead.bytes;
    if (!this.#flagsSeen || this.isShuttingDown || length < 0) return null;
    const option = view.getUint32(at + OptionHead.option);
    if (view.getUint32(at + OptionHead.length) !== length || this.#isRefusedInPlain(option))
      return null; // the rest of an oversized option is skipped
    const dataAt = at + OptionHead.bytes;
    let name: string | null = null;
    if (option === Option.exportName) name = nameOf({ view, bytes }, dataAt, length);
    else if (option === Option.go && length >= 6) {
      const nameBytes = view.getUint32(dataAt);
      if (nameBytes <= length - 6) name = nameOf({ view, bytes }, dataAt + 4, nameBytes);
    }
    const found = name === null ? undefined : findExport(this.#exports, name);
    return found?.isElsewhere === true ? found : null;
  }

  /** Accepts STARTTLS, or ends the session because of input after it. */
  #startTls(next: number, end: number, out: Output): number {
    if (next === end) {
      this.#reply(out, Option.startTls, Reply.ack);
      return this.#stopped(SessionStop.startTls, next);
    }
    this.#isSecuring = false;
    this.end = SessionEnd.plainAfterStartTls;
    return this.#stopped(SessionStop.ended, next);
  }

  #stopped(stop: SessionStop, next: number): number {
    this.stop = stop;
    return next;
  }

  /** Size of the unit at `at`; exceeds the input when the unit is incomplete. */
  #unitBytes(view: DataView, at: number, end: number): number {
    if (!this.#flagsSeen) return wire.ClientFlags.bytes;
    if (end - at < OptionHead.bytes) return OptionHead.bytes;
    const length = view.getUint32(at + OptionHead.length);
    return length > OPTION_DATA_BYTES_MAX ? OptionHead.bytes : OptionHead.bytes + length;
  }

  #takeUnit(input: Input, at: number, out: Output): void {
    const { view } = input;
    if (!this.#flagsSeen) {
      this.#takeFlags(view.getUint32(at));
      return;
    }
    const magicHigh = view.getUint32(at);
    const magicLow = view.getUint32(at + 4);
    const option = view.getUint32(at + OptionHead.option);
    const length = view.getUint32(at + OptionHead.length);
    if (magicHigh !== wire.Magic.optionHigh || magicLow !== wire.Magic.optionLow)
      this.end = SessionEnd.optionMagic;
    else if (++this.#optionCount > OPTION_COUNT_MAX) this.end = SessionEnd.optionCount;
    else if (length > OPTION_BYTES_MAX) this.end = SessionEnd.optionLength;
    else if (length > OPTION_DATA_BYTES_MAX) {
      this.#skipBytes = length;
      this.#skipOption = option;
    } else {
      const answer = this.#answer(option, input, at + OptionHead.bytes, length, out);
      if (answer !== NO_REPLY) this.#reply(out, option, answer);
    }
  }

  #takeFlags(flags: number): void {
    const { fixedNewstyle, noZeroes } = wire.HandshakeFlag;
    if ((flags & ~(fixedNewstyle | noZeroes)) !== 0) this.end = SessionEnd.clientFlags;
    this.#noZeroes = (flags & noZeroes) !== 0;
    this.#flagsSeen = true;
  }

  #skip(at: number, end: number, out: Output): number {
    const count = Math.min(this.#skipBytes, end - at);
    this.#skipBytes -= count;
    if (this.#skipBytes === 0) {
      const option = this.#skipOption;
      if (option === Option.abort) this.#reply(out, option, this.#abort());
      else if (this.#isRefusedInPlain(option)) this.#refuseInPlain(option, out);
      else if (option === Option.exportName) this.end = SessionEnd.exportUnknown;
      else this.#reply(out, option, KNOWN.has(option) ? Reply.errTooBig : Reply.errUnsup);
    }
    return at + count;
  }

  /** Processes an option. Returns the type of the final reply that the caller writes. */
  #answer(option: number, data: Input, at: number, length: number, out: Output): number {
    if (option === Option.abort) return this.#abort();
    if (this.#isRefusedInPlain(option)) return this.#refuseInPlain(option, out);
    if (option === Option.exportName) return this.#exportName(data, at, length, out);
    if (this.isShuttingDown) return Reply.errShutdown;
    switch (option) {
      case Option.list:
        if (length !== 0) return Reply.errInvalid;
        this.#listing = this.#exports.values()[Symbol.iterator]();
        return NO_REPLY; // after the list
      case Option.info:
      case Option.go:
        return this.#infoOrGo(option, data, at, length, out);
      case Option.structuredReply:
        if (length !== 0) return Reply.errInvalid;
        this.structured = true;
        return Reply.ack;
      case Option.listMetaContext:
      case Option.setMetaContext:
        return this.#metaContext(option, data, at, length, out);
      case Option.startTls:
        if (length !== 0 || this.#isSecure) return Reply.errInvalid;
        if (this.#tls === 'off') return Reply.errUnsup;
        this.#isSecuring = true;
        return NO_REPLY; // the caller replies
      default:
        return Reply.errUnsup;
    }
  }

  #isRefusedInPlain(option: number): boolean {
    return this.#tls === 'require' && !this.#isSecure && option !== Option.startTls;
  }

  #refuseInPlain(option: number, out: Output): typeof NO_REPLY {
    // EXPORT_NAME has no error reply.
    if (option === Option.exportName) this.end = SessionEnd.tlsRequired;
    else this.#reply(out, option, Reply.errTlsRequired);
    return NO_REPLY; // written here
  }

  #abort(): number {
    this.end = SessionEnd.abort;
    return Reply.ack;
  }

  #exportName(data: Input, at: number, length: number, out: Output): number {
    const name = nameOf(data, at, length);
    const found = name === null ? undefined : findExport(this.#exports, name);
    if (this.isShuttingDown) this.end = SessionEnd.shutdown;
    else if (found === undefined) this.end = SessionEnd.exportUnknown;
    else if (this.#admit(found) !== null) this.end = SessionEnd.exportInUse;
    else {
      const { view } = out;
      wire.putU64(view, out.length + wire.ExportAnswer.size, found.disk.sizeBytes);
      const flags = transmissionFlagsOf(found.disk, this.structured);
      view.setUint16(out.length + wire.ExportAnswer.flags, flags);
      out.length += wire.ExportAnswer.bytes;
      if (!this.#noZeroes) {
        out.bytes.fill(0, out.length, out.length + wire.ExportAnswer.zeroes);
        out.length += wire.ExportAnswer.zeroes;
      }
      this.chosen = found;
    }
    return NO_REPLY;
  }

  /** Sends the next export of LIST, or the final reply. */
  #continueList(out: Output): void {
    const step = this.#listing?.next();
    if (step === undefined || step.done === true) {
      this.#listing = null;
      this.#reply(out, Option.list, Reply.ack);
      return;
    }
    const start = this.#beginReply(out, Option.list, Reply.server);
    const nameBytes = putString(out.bytes, start + 4, step.value.name);
    out.view.setUint32(start, nameBytes);
    const textBytes = putString(out.bytes, start + 4 + nameBytes, step.value.description);
    this.#endReply(out, start, 4 + nameBytes + textBytes);
  }

  #infoOrGo(option: number, data: Input, at: number, length: number, out: Output): number {
    if (length < 6) return Reply.errInvalid;
    const nameBytes = data.view.getUint32(at);
    if (nameBytes > length - 6) return Reply.errInvalid;
    const countAt = at + 4 + nameBytes;
    const count = data.view.getUint16(countAt);
    if (length !== 6 + nameBytes + 2 * count || nameBytes > STRING_BYTES_MAX)
      return Reply.errInvalid;
    const name = nameOf(data, at + 4, nameBytes);
    const found = name === null ? undefined : findExport(this.#exports, name);
    if (found === undefined) {
      const why = name === null ? undefined : this.#exports.whyUnknown?.(name);
      if (why === undefined) return Reply.errUnknown;
      return this.#refuse(out, option, Reply.errUnknown, why);
    }
    const refusal = option === Option.go ? this.#admit(found) : null;
    if (refusal !== null) return this.#refuse(out, option, Reply.errPolicy, refusal);

    let requested = 1 << Info.export; // always sent
    for (let i = 0; i < count; i++) {
      const type = data.view.getUint16(countAt + 2 + 2 * i);
      if (type <= Info.blockSize) requested |= 1 << type;
    }
    for (let type = Info.export as number; type <= Info.blockSize; type++)
      if ((requested & (1 << type)) !== 0) this.#describe(option, type, found, out);
    if (option === Option.go) this.chosen = found;
    return Reply.ack;
  }

  /** One NBD_REP_INFO. */
  #describe(option: number, type: number, found: NbdExport, out: Output): void {
    const { view } = out;
    const at = this.#beginReply(out, option, Reply.info);
    view.setUint16(at, type);
    if (type === Info.export) {
      wire.putU64(view, at + wire.InfoExport.size, found.disk.sizeBytes);
      const flags = transmissionFlagsOf(found.disk, this.structured);
      view.setUint16(at + wire.InfoExport.flags, flags);
      this.#endReply(out, at, wire.InfoExport.bytes);
    } else if (type === Info.blockSize) {
      const sizes = blockSizesOf(found.disk);
      view.setUint32(at + wire.InfoBlockSize.minimum, sizes.minimum);
      view.setUint32(at + wire.InfoBlockSize.preferred, sizes.preferred);
      view.setUint32(at + wire.InfoBlockSize.maximum, sizes.maximum);
      this.#endReply(out, at, wire.InfoBlockSize.bytes);
    } else {
      const text = type === Info.name ? found.name : found.description;
      this.#endReply(out, at, 2 + putString(out.bytes, at + 2, text));
    }
  }

  #metaContext(option: number, data: Input, at: number, length: number, out: Output): number {
    const isSet = option === Option.setMetaContext;
    if (isSet) this.allocationFor = null; // a failed request also deselects
    if (!this.structured || length < 8) return Reply.errInvalid;
    const { view } = data;
    const end = at + length;
    const nameBytes = view.getUint32(at);
    if (nameBytes > length - 8 || nameBytes > STRING_BYTES_MAX) return Reply.errInvalid;
    const name = nameOf(data, at + 4, nameBytes);
    let next = at + 4 + nameBytes;
    const count = view.getUint32(next);
    next += 4;
    let matches = count === 0 && !isSet;
    for (let i = 0; i < count; i++) {
      if (end - next < 4) return Reply.errInvalid; // limits the loop: each query has at least 4 bytes
      const queryBytes = view.getUint32(next);
      next += 4;
      if (queryBytes > end - next || queryBytes > STRING_BYTES_MAX) return Reply.errInvalid;
      // Compared as bytes: decoding invalid UTF-8 costs an exception.
      matches ||=
        isText(data.bytes, next, queryBytes, wire.ALLOCATION_CONTEXT) ||
        (!isSet && isText(data.bytes, next, queryBytes, 'base:'));
      next += queryBytes;
    }
    if (next !== end) return Reply.errInvalid;
    const found = name === null ? undefined : findExport(this.#exports, name);
    if (found === undefined) return Reply.errUnknown;
    if (matches) this.#describeContext(option, isSet, out);
    if (matches && isSet) this.allocationFor = found;
    return Reply.ack;
  }

  #describeContext(option: number, isSet: boolean, out: Output): void {
    const start = this.#beginReply(out, option, Reply.metaContext);
    out.view.setUint32(start, isSet ? wire.ALLOCATION_ID : 0);
    this.#endReply(out, start, 4 + putString(out.bytes, start + 4, wire.ALLOCATION_CONTEXT));
  }

  /** An error with a message, which clients print. */
  #refuse(out: Output, option: number, type: number, why: string): typeof NO_REPLY {
    const start = this.#beginReply(out, option, type);
    this.#endReply(out, start, putString(out.bytes, start, why));
    return NO_REPLY; // written here
  }

  /** A reply without data. */
  #reply(out: Output, option: number, type: number): void {
    this.#endReply(out, this.#beginReply(out, option, type), 0);
  }

  /** Writes a header. Returns the position of its data. */
  #beginReply(out: Output, option: number, type: number): number {
    const { view } = out;
    const at = out.length;
    view.setUint32(at, wire.Magic.optionReplyHigh);
    view.setUint32(at + 4, wire.Magic.optionReplyLow);
    view.setUint32(at + OptionReplyHead.option, option);
    view.setUint32(at + OptionReplyHead.type, type);
    return at + OptionReplyHead.bytes;
  }

  #endReply(out: Output, dataAt: number, dataBytes: number): void {
    out.view.setUint32(dataAt - OptionReplyHead.bytes + OptionReplyHead.length, dataBytes);
    out.length = dataAt + dataBytes;
  }
}

/** Whether bytes[at .. at + length) equals `text`, which must be ASCII. */
function isText(bytes: Uint8Array, at: number, length: number, text: string): boolean {
  if (length !== text.length) return false;
  for (let i = 0; i < length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}
