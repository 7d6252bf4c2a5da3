/** The replies of one batch, which the caller sends with one write. */
import { assert } from '../../base/assert.ts';
import { Head, REPLY_BYTES_MAX } from './wire.ts';

/** Bytes of replies per write. */
export const OUTPUT_BYTES = 262144;

export class TmemOutput {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  length = 0;

  /** @param bytes at least REPLY_BYTES_MAX */
  constructor(bytes: Uint8Array) {
    assert(bytes.length >= REPLY_BYTES_MAX, 'an output fits the longest reply');
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get freeBytes(): number {
    return this.bytes.length - this.length;
  }

  clear(): void {
    this.length = 0;
  }

  /** Writes the header of a reply at `at`. */
  head(at: number, op: number, count: number, id: number, value: number, length: number): void {
    const { view } = this;
    view.setUint32(at + Head.length, length, true);
    view.setUint8(at + Head.op, op);
    view.setUint8(at + Head.pool, 0);
    view.setUint16(at + Head.count, count, true);
    view.setUint32(at + Head.id, id, true);
    view.setInt32(at + Head.value, value, true);
  }
}
