/**
 * Replies laid down at the end of an output. The caller has made sure of the room; nothing is allocated.
 * A cookie is the client's 8 bytes as two words.
 */
import type { Output } from './output.ts';
import * as wire from './wire.ts';
import { Chunk, ChunkFlag, ChunkHead, SimpleReply } from './wire.ts';

/** The longest reply without data: an error chunk with an offset. */
export const FIXED_BYTES_MAX: number = ChunkHead.bytes + wire.ErrorOffsetChunk.bytes;
/** What precedes the data of a data chunk; a simple reply has less. */
export const DATA_HEAD_BYTES: number = ChunkHead.bytes + wire.OffsetData.bytes;

/** A simple reply; the data of a read is the caller's to add. */
export function putSimple(out: Output, cookieHigh: number, cookieLow: number, error: number): void {
  const { view } = out;
  const at = out.length;
  view.setUint32(at, wire.Magic.simpleReply);
  view.setUint32(at + SimpleReply.error, error);
  view.setInt32(at + SimpleReply.cookie, cookieHigh);
  view.setInt32(at + SimpleReply.cookie + 4, cookieLow);
  out.length = at + SimpleReply.bytes;
}

/** A simple reply that is there already says `error` after all. */
export function setSimpleError(out: Output, at: number, error: number): void {
  out.view.setUint32(at + SimpleReply.error, error);
}

/** Head of a chunk with `payload` bytes to come; returns where they go. */
export function putChunkHead(
  out: Output,
  cookieHigh: number,
  cookieLow: number,
  type: number,
  done: boolean,
  payload: number,
): number {
  const { view } = out;
  const at = out.length;
  view.setUint32(at, wire.Magic.structuredReply);
  view.setUint16(at + ChunkHead.flags, done ? ChunkFlag.done : 0);
  view.setUint16(at + ChunkHead.type, type);
  view.setInt32(at + ChunkHead.cookie, cookieHigh);
  view.setInt32(at + ChunkHead.cookie + 4, cookieLow);
  view.setUint32(at + ChunkHead.length, payload);
  out.length = at + ChunkHead.bytes;
  return out.length;
}

/** An error that ends a reply before it began. */
export function putErrorChunk(
  out: Output,
  cookieHigh: number,
  cookieLow: number,
  error: number,
): void {
  const { bytes } = wire.ErrorChunk;
  const at = putChunkHead(out, cookieHigh, cookieLow, Chunk.error, true, bytes);
  out.view.setUint32(at + wire.ErrorChunk.error, error);
  out.view.setUint16(at + wire.ErrorChunk.messageLength, 0);
  out.length = at + bytes;
}

/** Everything of a data chunk but its data, which are the next `length` bytes. */
export function putDataHead(
  out: Output,
  cookieHigh: number,
  cookieLow: number,
  done: boolean,
  offset: number,
  length: number,
): void {
  const payload = wire.OffsetData.bytes + length;
  const at = putChunkHead(out, cookieHigh, cookieLow, Chunk.offsetData, done, payload);
  wire.putU64(out.view, at + wire.OffsetData.offset, offset);
  out.length = at + wire.OffsetData.bytes;
}

export function putHoleChunk(
  out: Output,
  cookieHigh: number,
  cookieLow: number,
  done: boolean,
  offset: number,
  length: number,
): void {
  const { bytes } = wire.OffsetHole;
  const at = putChunkHead(out, cookieHigh, cookieLow, Chunk.offsetHole, done, bytes);
  wire.putU64(out.view, at + wire.OffsetHole.offset, offset);
  out.view.setUint32(at + wire.OffsetHole.length, length);
  out.length = at + bytes;
}

/**
 * The data chunk of `length` data bytes at `at` has no data after all: an error for its place on the disk stands there
 * instead, and what follows moves up. It is the last chunk if the other was. A chunk too short to hold the
 * offset becomes an error without one.
 */
export function turnIntoErrorChunk(out: Output, at: number, length: number, error: number): void {
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
