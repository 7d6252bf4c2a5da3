/**
 * An asynchronous disk that completes bios in random order, at a random tick. Some bios fail; a failed write may have
 * been written in part. Data is read and filled as late as possible. The disk relies on a guarantee of ramzswap to its
 * backing: bios in flight share no page, unless both only read it.
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import { type ByteCount, bytes } from '../../../src/base/units.ts';
import { type Bio, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { type Disk, type DiskLimits, Extent, type ExtentSink } from '../../../src/block/ops.ts';

const SECTOR = 512;

export class ShuffledDisk implements Disk {
  readonly sizeBytes: ByteCount;
  readonly readOnly = false;
  readonly synchronous = false;
  readonly limits: DiskLimits = {
    physicalBlockBytes: 4096,
    discardGranularityBytes: 4096,
    maxTransferBytes: 65536,
  };
  readonly bytes: Uint8Array;
  /** One bio in this many fails; 0: none. */
  failOneIn = 0;
  isGone = false;
  /** No bio ends by itself. */
  isHeld = false;
  failed = 0;
  done = 0;
  lastFlags = 0;
  /** Maximum number of bios in flight so far. */
  inFlightMax = 0;
  readonly #prng: Prng;
  readonly #inFlight: Bio[] = [];

  constructor(sizeBytes: number, prng: Prng) {
    this.sizeBytes = bytes(sizeBytes);
    this.bytes = new Uint8Array(sizeBytes);
    this.#prng = prng;
  }

  get inFlight(): readonly Bio[] {
    return this.#inFlight;
  }

  submit(bio: Bio): void {
    assert.ok(bio.offset >= 0 && bio.length > 0 && bio.offset + bio.length <= this.sizeBytes);
    const [from, to] = [bio.offset >>> 12, (bio.offset + bio.length + 4095) >>> 12];
    for (const other of this.#inFlight) {
      const end = (other.offset + other.length + 4095) >>> 12;
      if (other.op === BioOp.read && bio.op === BioOp.read) continue;
      assert.ok(end <= from || to <= other.offset >>> 12, 'bios in flight share no page');
    }
    if (bio.op === BioOp.read || bio.op === BioOp.write)
      assert.ok(
        bio.length <= this.limits.maxTransferBytes && bio.at + bio.length <= bio.data.length,
      );
    this.lastFlags = bio.flags;
    this.#inFlight.push(bio);
    this.inFlightMax = Math.max(this.inFlightMax, this.#inFlight.length);
  }

  tick(): number {
    const due = this.isHeld ? 0 : this.#prng.below(this.#inFlight.length + 1);
    for (let i = 0; i < due; i++) this.end(this.#prng.below(this.#inFlight.length));
    return due;
  }

  /** Executes and ends the bio at `index` of those in flight. */
  end(index: number): void {
    const [bio] = this.#inFlight.splice(index, 1);
    assert.ok(bio !== undefined);
    const fails = this.isGone || (this.failOneIn > 0 && this.#prng.oneIn(this.failOneIn));
    if (fails) {
      this.failed++;
      const seams = Math.floor(bio.length / SECTOR) + 1;
      const cut = (bio.offset + this.#prng.below(seams) * SECTOR) & ~(SECTOR - 1);
      if (!this.isGone) this.#apply(bio, Math.min(bio.length, Math.max(0, cut - bio.offset)));
    } else this.#apply(bio, bio.length);
    this.done++;
    bio.status = fails ? BioStatus.ioError : BioStatus.ok;
    bio.owner.bioEnd(bio);
  }

  extents(_offset: number, length: number, sink: ExtentSink): void {
    sink(Extent.data, length);
  }

  #apply({ op, offset, data, at }: Bio, length: number): void {
    if (op === BioOp.read) data.set(this.bytes.subarray(offset, offset + length), at);
    else if (op === BioOp.write) this.bytes.set(data.subarray(at, at + length), offset);
    else if (op === BioOp.writeZeroes) this.bytes.fill(0, offset, offset + length);
    // Discarded bytes are undefined: the caller must not read them.
    else this.#prng.fill(this.bytes.subarray(offset, offset + length));
  }
}
