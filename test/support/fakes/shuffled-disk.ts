/**
 * A disk that takes its time: bios are done in any order, at any tick, and some fail, a write in the middle of it. Data is
 * read and filled as late as can be. It relies on what the backing of a ramzswap disk is promised: that bios under
 * way touch no page in common, unless both read it.
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
  /** One bio in this many fails; 0: none does. */
  failOneIn = 0;
  isGone = false;
  failed = 0;
  done = 0;
  lastFlags = 0;
  /** Most that were under way at once. */
  heldMost = 0;
  readonly #prng: Prng;
  readonly #held: Bio[] = [];

  constructor(sizeBytes: number, prng: Prng) {
    this.sizeBytes = bytes(sizeBytes);
    this.bytes = new Uint8Array(sizeBytes);
    this.#prng = prng;
  }

  get held(): readonly Bio[] {
    return this.#held;
  }

  submit(bio: Bio): void {
    assert.ok(bio.offset >= 0 && bio.length > 0 && bio.offset + bio.length <= this.sizeBytes);
    const [from, to] = [bio.offset >>> 12, (bio.offset + bio.length + 4095) >>> 12];
    for (const other of this.#held) {
      const end = (other.offset + other.length + 4095) >>> 12;
      if (other.op === BioOp.read && bio.op === BioOp.read) continue;
      assert.ok(end <= from || to <= other.offset >>> 12, 'bios under way touch no page in common');
    }
    if (bio.op === BioOp.read || bio.op === BioOp.write)
      assert.ok(
        bio.length <= this.limits.maxTransferBytes && bio.at + bio.length <= bio.data.length,
      );
    this.lastFlags = bio.flags;
    this.#held.push(bio);
    this.heldMost = Math.max(this.heldMost, this.#held.length);
  }

  tick(): number {
    const due = this.#prng.below(this.#held.length + 1);
    for (let i = 0; i < due; i++) this.end(this.#prng.below(this.#held.length));
    return due;
  }

  /** Does the bio that is held at `index`, and ends it. */
  end(index: number): void {
    const [bio] = this.#held.splice(index, 1);
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
    // What was discarded may hold anything: it must not be read.
    else this.#prng.fill(this.bytes.subarray(offset, offset + length));
  }
}
