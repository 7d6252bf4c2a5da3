/**
 * A disk in memory: uncompressed and synchronous. Tests compare other disks with it, and benches measure a protocol
 * over it.
 *
 *   chunk table:  [ null | chunk | null | … ]           one entry per CHUNK_BYTES of the disk
 *   chunk:        data, CHUNK_BYTES; kinds, one byte per page: an Extent
 *
 * Invariants
 * - A missing chunk is a hole; a page whose kind is not `data` holds zeros.
 * - A chunk is freed when all its pages are holes.
 *
 * Cost: one copy per request, 64 KiB at the first write to a chunk, and one short-lived view per chunk and request.
 */
import { assert } from '../../base/assert.ts';
import { type ByteCount, bytes, PAGE_BYTES } from '../../base/units.ts';
import { type Bio, BioFlag, BioOp, BioQueue, BioStatus, isInside } from '../bio.ts';
import { type Disk, type DiskLimits, Extent, type ExtentSink } from '../ops.ts';

const CHUNK_BYTES = 65536;
const CHUNK_PAGES = CHUNK_BYTES / PAGE_BYTES;

interface Chunk {
  readonly data: Uint8Array;
  /** The Extent of each page. */
  readonly kinds: Uint8Array;
  /** Number of pages whose kind is not `hole`, 1 .. CHUNK_PAGES between requests. */
  usedPages: number;
}

const LIMITS: DiskLimits = {
  physicalBlockBytes: PAGE_BYTES,
  discardGranularityBytes: PAGE_BYTES,
  maxTransferBytes: 64 * 1024 * 1024,
};

/** An uncompressed disk in memory, allocated in chunks of 64 KiB on first write. */
export class MemoryDisk implements Disk {
  readonly sizeBytes: ByteCount;
  readonly limits: DiskLimits = LIMITS;
  readonly readOnly: boolean;
  readonly synchronous = true;
  readonly #chunks: (Chunk | null)[];
  readonly #done = new BioQueue();

  /** @param sizeBytes at least 1; the last page may be partial */
  constructor(sizeBytes: number, options: { readonly readOnly?: boolean } = {}) {
    assert(
      Number.isSafeInteger(sizeBytes) && sizeBytes > 0,
      'sizeBytes is a whole number, above 0',
    );
    this.sizeBytes = bytes(sizeBytes);
    this.readOnly = options.readOnly ?? false;
    this.#chunks = new Array<Chunk | null>(Math.ceil(sizeBytes / CHUNK_BYTES)).fill(null);
  }

  submit(bio: Bio): void {
    bio.status = this.#serve(bio);
    this.#done.push(bio);
  }

  tick(): number {
    return this.#done.endAll();
  }

  extents(offset: number, length: number, sink: ExtentSink): void {
    assert(isInside({ offset, length }, this), 'the range is inside the disk');
    const end = offset + length;
    let runStart = offset;
    let runKind = this.#kindAt(offset);
    for (let at = nextPage(offset); at < end; at += PAGE_BYTES) {
      const kind = this.#kindAt(at);
      if (kind === runKind) continue;
      if (!sink(runKind, at - runStart)) return;
      runStart = at;
      runKind = kind;
    }
    sink(runKind, end - runStart);
  }

  #serve(bio: Bio): BioStatus {
    if (bio.op === BioOp.flush) return BioStatus.ok;
    if (!isInside(bio, this)) return BioStatus.invalid;
    if (bio.op === BioOp.read) {
      this.#read(bio);
      return BioStatus.ok;
    }
    if (this.readOnly) return BioStatus.readOnly;
    if (bio.op === BioOp.write) this.#write(bio);
    else if (bio.op === BioOp.discard) this.#clear(bio, Extent.hole);
    else this.#clear(bio, (bio.flags & BioFlag.noUnmap) === 0 ? Extent.hole : Extent.zero);
    return BioStatus.ok;
  }

  #read(bio: Bio): void {
    const end = bio.offset + bio.length;
    let to = bio.at;
    for (let at = bio.offset; at < end; ) {
      const index = Math.floor(at / CHUNK_BYTES);
      const from = at - index * CHUNK_BYTES;
      const length = Math.min(end - at, CHUNK_BYTES - from);
      const chunk = this.#chunks[index];
      if (chunk) bio.data.set(chunk.data.subarray(from, from + length), to);
      else bio.data.fill(0, to, to + length);
      at += length;
      to += length;
    }
  }

  #write(bio: Bio): void {
    const end = bio.offset + bio.length;
    let source = bio.at;
    for (let at = bio.offset; at < end; ) {
      const index = Math.floor(at / CHUNK_BYTES);
      const from = at - index * CHUNK_BYTES;
      const length = Math.min(end - at, CHUNK_BYTES - from);
      const chunk = this.#chunkFor(index);
      chunk.data.set(bio.data.subarray(source, source + length), from);
      const lastPage = (from + length - 1) >>> 12;
      for (let page = from >>> 12; page <= lastPage; page++) setKind(chunk, page, Extent.data);
      at += length;
      source += length;
    }
  }

  /** Zeroes the range. Full pages become `kind`; a partial page keeps its kind and its other bytes. */
  #clear(bio: Bio, kind: Extent): void {
    const end = bio.offset + bio.length;
    for (let at = bio.offset; at < end; ) {
      const index = Math.floor(at / CHUNK_BYTES);
      const from = at - index * CHUNK_BYTES;
      const to = Math.min(CHUNK_BYTES, from + (end - at));
      at += to - from;
      const present = this.#chunks[index] ?? null;
      if (present === null && kind === Extent.hole) continue;
      const chunk = present ?? this.#chunkFor(index);
      chunk.data.fill(0, from, to);
      // The last page of the disk may be partial: then it counts as full up to the end of the disk.
      const endPage = at === this.sizeBytes ? (to + PAGE_BYTES - 1) >>> 12 : to >>> 12;
      for (let page = (from + PAGE_BYTES - 1) >>> 12; page < endPage; page++)
        setKind(chunk, page, kind);
      if (chunk.usedPages === 0) this.#chunks[index] = null;
    }
  }

  #chunkFor(index: number): Chunk {
    const present = this.#chunks[index];
    if (present) return present;
    const chunk: Chunk = {
      data: new Uint8Array(CHUNK_BYTES),
      kinds: new Uint8Array(CHUNK_PAGES).fill(Extent.hole),
      usedPages: 0,
    };
    this.#chunks[index] = chunk;
    return chunk;
  }

  #kindAt(offset: number): Extent {
    const index = Math.floor(offset / CHUNK_BYTES);
    const chunk = this.#chunks[index];
    return chunk ? (chunk.kinds[(offset - index * CHUNK_BYTES) >>> 12]! as Extent) : Extent.hole;
  }
}

function setKind(chunk: Chunk, page: number, kind: Extent): void {
  const before = chunk.kinds[page]!;
  chunk.kinds[page] = kind;
  chunk.usedPages += Number(kind !== Extent.hole) - Number(before !== Extent.hole);
}

const nextPage = (offset: number): number => (Math.floor(offset / PAGE_BYTES) + 1) * PAGE_BYTES;
