/** A minimal client: encodes requests and options, decodes replies. */
import assert from 'node:assert/strict';
import * as wire from '../../../src/nbd/protocol/wire.ts';

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Concatenates numbers of the given widths and raw bytes, big-endian. */
class Writer {
  readonly #parts: Uint8Array[] = [];

  u16(n: number): this {
    const part = new Uint8Array(2);
    new DataView(part.buffer).setUint16(0, n);
    return this.raw(part);
  }
  u32(n: number): this {
    const part = new Uint8Array(4);
    new DataView(part.buffer).setUint32(0, n);
    return this.raw(part);
  }
  u64(n: number | bigint): this {
    const part = new Uint8Array(8);
    new DataView(part.buffer).setBigUint64(0, BigInt(n));
    return this.raw(part);
  }
  raw(part: Uint8Array): this {
    this.#parts.push(part);
    return this;
  }
  done(): Uint8Array {
    return Uint8Array.from(Buffer.concat(this.#parts));
  }
}

export const joinAll = (parts: readonly Uint8Array[]): Uint8Array =>
  Uint8Array.from(Buffer.concat(parts));
export const join = (...parts: Uint8Array[]): Uint8Array => joinAll(parts);

export const clientFlags = (flags = 3): Uint8Array => new Writer().u32(flags).done();

export const option = (type: number, data: Uint8Array = new Uint8Array(0)): Uint8Array =>
  new Writer()
    .u32(wire.Magic.optionHigh)
    .u32(wire.Magic.optionLow)
    .u32(type)
    .u32(data.length)
    .raw(data)
    .done();

export function infoData(name: string, infos: readonly number[] = []): Uint8Array {
  const text = utf8(name);
  const writer = new Writer().u32(text.length).raw(text).u16(infos.length);
  for (const info of infos) writer.u16(info);
  return writer.done();
}

export function metaData(name: string, queries: readonly string[]): Uint8Array {
  const text = utf8(name);
  const writer = new Writer().u32(text.length).raw(text).u32(queries.length);
  for (const query of queries) writer.u32(utf8(query).length).raw(utf8(query));
  return writer.done();
}

export interface RequestFields {
  readonly type: number;
  readonly flags?: number;
  readonly cookie?: number | bigint;
  readonly offset?: number | bigint;
  readonly length?: number;
  /** Payload of a write; sets the length if that is not given. */
  readonly data?: Uint8Array;
  readonly magic?: number;
}

export const request = (fields: RequestFields): Uint8Array =>
  new Writer()
    .u32(fields.magic ?? wire.Magic.request)
    .u16(fields.flags ?? 0)
    .u16(fields.type)
    .u64(fields.cookie ?? 0x1122_3344_5566_7788n)
    .u64(fields.offset ?? 0)
    .u32(fields.length ?? fields.data?.length ?? 0)
    .raw(fields.data ?? new Uint8Array(0))
    .done();

export interface OptionReply {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

/** Splits option replies; fails on malformed ones. */
export function optionReplies(bytes: Uint8Array): OptionReply[] {
  const buffer = Buffer.from(bytes);
  const found: OptionReply[] = [];
  for (let at = 0; at < buffer.length; ) {
    assert.equal(buffer.readUInt32BE(at), wire.Magic.optionReplyHigh);
    assert.equal(buffer.readUInt32BE(at + 4), wire.Magic.optionReplyLow);
    const length = buffer.readUInt32BE(at + 16);
    assert.ok(at + 20 + length <= buffer.length, 'a reply is complete');
    found.push({
      option: buffer.readUInt32BE(at + 8),
      type: buffer.readUInt32BE(at + 12),
      data: buffer.subarray(at + 20, at + 20 + length),
    });
    at += 20 + length;
  }
  return found;
}

/** One reply message of the transmission phase. */
export interface Message {
  readonly kind: 'simple' | 'chunk';
  readonly cookie: bigint;
  /** Error of a simple reply or an error chunk. */
  readonly error: number;
  /** Chunk type, -1 for a simple reply. */
  readonly type: number;
  readonly done: boolean;
  /** Payload of a simple read reply, or of the chunk. */
  readonly payload: Buffer;
}

/**
 * Splits replies; fails on malformed ones. `readLength` is the payload length of a successful simple reply to that
 * cookie.
 */
export function messages(
  bytes: Uint8Array,
  readLength: (cookie: bigint) => number = () => 0,
): Message[] {
  const buffer = Buffer.from(bytes);
  const found: Message[] = [];
  for (let at = 0; at < buffer.length; ) {
    const magic = buffer.readUInt32BE(at);
    const cookie = buffer.readBigUInt64BE(at + 8);
    if (magic === wire.Magic.simpleReply) {
      const error = buffer.readUInt32BE(at + 4);
      const length = error === 0 ? readLength(cookie) : 0;
      const payload = buffer.subarray(at + 16, at + 16 + length);
      assert.equal(payload.length, length, 'a simple reply is complete');
      found.push({ kind: 'simple', cookie, error, type: -1, done: true, payload });
      at += 16 + length;
    } else {
      assert.equal(magic, wire.Magic.structuredReply, 'a reply starts with a magic number');
      const length = buffer.readUInt32BE(at + 16);
      const payload = buffer.subarray(at + 20, at + 20 + length);
      assert.equal(payload.length, length, 'a chunk is complete');
      const type = buffer.readUInt16BE(at + 6);
      const error = type >= 0x8000 ? payload.readUInt32BE(0) : 0;
      const done = (buffer.readUInt16BE(at + 4) & 1) !== 0;
      found.push({ kind: 'chunk', cookie, error, type, done, payload });
      at += 20 + length;
    }
  }
  return found;
}

/** The result of a request: the data of its chunks, or its first error. */
export interface Answer {
  readonly cookie: bigint;
  readonly error: number;
  readonly data: Buffer;
}

/** Joins the chunks of each reply and checks the rules for chunks of a read at `offset`. */
export function answers(
  found: readonly Message[],
  readAt: (cookie: bigint) => { offset: number; length: number },
): Answer[] {
  const results: Answer[] = [];
  for (let i = 0; i < found.length; ) {
    const first = found[i] as Message;
    if (first.kind === 'simple') {
      results.push({ cookie: first.cookie, error: first.error, data: first.payload });
      i++;
      continue;
    }
    const { offset, length } = readAt(first.cookie);
    const data = Buffer.alloc(length, 0xee);
    let error = 0;
    let covered = 0;
    for (;;) {
      const chunk = found[i++];
      assert.ok(chunk !== undefined, 'a structured reply ends with a done chunk');
      assert.equal(chunk.cookie, first.cookie, 'replies are not interleaved');
      if (chunk.type === wire.Chunk.offsetData || chunk.type === wire.Chunk.offsetHole) {
        const from = Number(chunk.payload.readBigUInt64BE(0)) - offset;
        const isHole = chunk.type === wire.Chunk.offsetHole;
        const count = isHole ? chunk.payload.readUInt32BE(8) : chunk.payload.length - 8;
        assert.ok(
          from >= 0 && count > 0 && from + count <= length,
          'a chunk is inside the requested range',
        );
        if (isHole) data.fill(0, from, from + count);
        else chunk.payload.copy(data, from, 8);
        covered += count;
      } else if (chunk.type >= 0x8000) error ||= chunk.error;
      if (chunk.done) break;
    }
    if (error === 0) assert.equal(covered, length, 'the chunks cover a successful read');
    results.push({ cookie: first.cookie, error, data: error === 0 ? data : Buffer.alloc(0) });
  }
  return results;
}
