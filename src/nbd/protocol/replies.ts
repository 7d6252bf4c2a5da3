/**
 * Writes replies at the end of an output. The caller has checked the free space; nothing is allocated.
 */
import type { Output } from './output.ts';
import * as wire from './wire.ts';
import { Chunk, ChunkFlag, ChunkHead, SimpleReply } from './wire.ts';

/** The 8 opaque bytes that identify a request to its client, as two signed words. */
export interface Cookie {
  high: number;
  low: number;
}

/** The longest reply without data: an error chunk with an offset. */
export const FIXED_BYTES_MAX: number = ChunkHead.bytes + wire.ErrorOffsetChunk.bytes;
/** Header bytes before the data of a data chunk; a simple reply has fewer. */
export const DATA_HEAD_BYTES: number = ChunkHead.bytes + wire.OffsetData.bytes;

/** Writes a simple reply; the caller adds the data of a read. */
export function putSimple(out: Output, cookie: Cookie, error: number): void {
  const { view } = out;
  const at = out.length;
  view.setUint32(at, wire.Magic.simpleReply);
  view.setUint32(at + SimpleReply.error, error);
  view.setInt32(at + SimpleReply.cookie, cookie.high);
  view.setInt32(at + SimpleReply.cookie + 4, cookie.low);
  out.length = at + SimpleReply.bytes;
}

/** Changes the error of a simple reply at `at`. */
export function setSimpleError(out: Output, at: number, error: number): void {
  out.view.setUint32(at + SimpleReply.error, error);
}

/** Writes the header of a chunk with `payload` bytes. Returns the position of the payload. */
export function putChunkHead(
  out: Output,
  cookie: Cookie,
  type: number,
  done: boolean,
  payload: number,
): number {
  const { view } = out;
  const at = out.length;
  view.setUint32(at, wire.Magic.structuredReply);
  view.setUint16(at + ChunkHead.flags, done ? ChunkFlag.done : 0);
  view.setUint16(at + ChunkHead.type, type);
  view.setInt32(at + ChunkHead.cookie, cookie.high);
  view.setInt32(at + ChunkHead.cookie + 4, cookie.low);
  view.setUint32(at + ChunkHead.length, payload);
  out.length = at + ChunkHead.bytes;
  return out.length;
}

/** Writes an error chunk that is the whole reply. */
export function putErrorChunk(out: Output, cookie: Cookie, error: number): void {
  const { bytes } = wire.ErrorChunk;
  const at = putChunkHead(out, cookie, Chunk.error, true, bytes);
  out.view.setUint32(at + wire.ErrorChunk.error, error);
  out.view.setUint16(at + wire.ErrorChunk.messageLength, 0);
  out.length = at + bytes;
}

/** Writes the headers of a data chunk; the caller adds `length` bytes of data. */
export function putDataHead(
  out: Output,
  cookie: Cookie,
  done: boolean,
  offset: number,
  length: number,
): void {
  const payload = wire.OffsetData.bytes + length;
  const at = putChunkHead(out, cookie, Chunk.offsetData, done, payload);
  wire.putU64(out.view, at + wire.OffsetData.offset, offset);
  out.length = at + wire.OffsetData.bytes;
}

export function putHoleChunk(
  out: Output,
  cookie: Cookie,
  done: boolean,
  offset: number,
  length: number,
): void {
  const { bytes } = wire.OffsetHole;
  const at = putChunkHead(out, cookie, Chunk.offsetHole, done, bytes);
  wire.putU64(out.view, at + wire.OffsetHole.offset, offset);
  out.view.setUint32(at + wire.OffsetHole.length, length);
  out.length = at + bytes;
}

/**
 * Replaces the data chunk with `length` data bytes at `at` with an error chunk with the same disk offset and the same DONE
 * flag, and moves the bytes after it forward. A chunk that is too short for the offset becomes an error chunk without an
 * offset.
 */
export function replaceByErrorChunk(out: Output, at: number, length: number, error: number): void {
  const { view } = out;
  const dataBytes = wire.OffsetData.bytes + length;
  const payloadAt = at + ChunkHead.bytes;
  const withOffset = dataBytes >= wire.ErrorOffsetChunk.bytes;
  const bytes = withOffset ? wire.ErrorOffsetChunk.bytes : wire.ErrorChunk.bytes;
  view.setUint16(at + ChunkHead.type, withOffset ? Chunk.errorOffset : Chunk.error);
  view.setUint32(at + ChunkHead.length, bytes);
  if (withOffset)
    out.bytes.copyWithin(
      payloadAt + wire.ErrorOffsetChunk.offset,
      payloadAt + wire.OffsetData.offset,
      payloadAt + wire.OffsetData.offset + 8,
    );
  view.setUint32(payloadAt + wire.ErrorChunk.error, error);
  view.setUint16(payloadAt + wire.ErrorChunk.messageLength, 0);
  out.cut(payloadAt + bytes, dataBytes - bytes);
}
