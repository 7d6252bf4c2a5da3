/**
 * A block request in the memory of a guest. (virtio 1.2, 5.2.6.)
 *
 *   readable: header 16 bytes │ data of a write, or ranges      writable: data of a read │ status byte, the last one
 *
 * The boundaries of descriptors do not matter. Header and ranges are copied before they are checked, because the guest may
 * change them. A request is either valid as a whole or has no effect.
 */
import { BioOp } from '../block/bio.ts';
import type { Disk } from '../block/ops.ts';
import { RANGE_SECTORS_MAX, RANGES_MAX, REQUEST_BYTES_MAX, SECTOR_BYTES } from './block-config.ts';
import type { Pieces } from './pieces.ts';

export const RequestType = {
  in: 0,
  out: 1,
  flush: 4,
  getId: 8,
  discard: 11,
  writeZeroes: 13,
} as const;
export const Status = { ok: 0, ioError: 1, unsupported: 2 } as const;
export type Status = (typeof Status)[keyof typeof Status];

export const HEADER_BYTES = 16;
export const ID_BYTES = 20;
const RANGE_BYTES = 16;
const UNMAP = 1;
const TWO_32 = 0x1_0000_0000;

type Target = Pick<Disk, 'sizeBytes' | 'readOnly'>;

/** The request of the last parse(); one object is used for all requests. */
export class Request {
  type = 0;
  /** Position of the data on the disk. */
  offset = 0;
  /** Bytes of data. */
  length = 0;
  rangeCount = 0;
  readonly rangeOffsets: Float64Array = new Float64Array(RANGES_MAX);
  readonly rangeLengths: Float64Array = new Float64Array(RANGES_MAX);
  readonly rangeKeeps: Uint8Array = new Uint8Array(RANGES_MAX);
  readonly #bytes = new Uint8Array(RANGES_MAX * RANGE_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);

  /** True if the chain has a header and a status byte. */
  static isFramed(pieces: Pieces): boolean {
    return pieces.readableBytes >= HEADER_BYTES && pieces.writableBytes >= 1;
  }

  /** Parses a request with a valid frame. @returns ok, or the status that ends the request */
  parse(pieces: Pieces, disk: Target): Status {
    const { readOnly } = disk;
    pieces.copyReadable(0, HEADER_BYTES, this.#bytes);
    const view = this.#view;
    this.type = view.getUint32(0, true);
    this.offset = (view.getUint32(8, true) + view.getUint32(12, true) * TWO_32) * SECTOR_BYTES;
    this.length = 0;
    this.rangeCount = 0;
    const out = pieces.readableBytes - HEADER_BYTES;
    const into = pieces.writableBytes - 1;
    switch (this.type) {
      case RequestType.in:
        return out === 0 ? this.#transfer(into, disk) : Status.ioError;
      case RequestType.out:
        return into === 0 && !readOnly ? this.#transfer(out, disk) : Status.ioError;
      case RequestType.flush:
        return Status.ok;
      case RequestType.getId:
        return into === ID_BYTES ? Status.ok : Status.ioError;
      case RequestType.discard:
        return readOnly ? Status.ioError : this.#ranges(pieces, out, BioOp.discard, disk);
      case RequestType.writeZeroes:
        return readOnly ? Status.ioError : this.#ranges(pieces, out, BioOp.writeZeroes, disk);
      default:
        return Status.unsupported;
    }
  }

  #transfer(length: number, disk: Target): Status {
    const isLength = length > 0 && length % SECTOR_BYTES === 0 && length <= REQUEST_BYTES_MAX;
    if (!isLength || this.offset + length > disk.sizeBytes) return Status.ioError;
    this.length = length;
    return Status.ok;
  }

  #ranges(pieces: Pieces, bytes: number, op: BioOp, disk: Target): Status {
    const count = bytes / RANGE_BYTES;
    if (!Number.isInteger(count) || count === 0 || count > RANGES_MAX) return Status.ioError;
    pieces.copyReadable(HEADER_BYTES, bytes, this.#bytes);
    const view = this.#view;
    for (let i = 0; i < count; i++) {
      const at = i * RANGE_BYTES;
      const sector = view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
      const sectors = view.getUint32(at + 8, true);
      const flags = view.getUint32(at + 12, true);
      if ((flags & ~(op === BioOp.writeZeroes ? UNMAP : 0)) !== 0) return Status.unsupported;
      if (sectors > RANGE_SECTORS_MAX || (sector + sectors) * SECTOR_BYTES > disk.sizeBytes)
        return Status.ioError;
      this.rangeOffsets[i] = sector * SECTOR_BYTES;
      this.rangeLengths[i] = sectors * SECTOR_BYTES;
      this.rangeKeeps[i] = op === BioOp.writeZeroes && (flags & UNMAP) === 0 ? 1 : 0;
    }
    this.rangeCount = count;
    return Status.ok;
  }
}
