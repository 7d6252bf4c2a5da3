/** A disk as a plain array of bytes and a flag for each stored page; every RAM disk must behave like it. */
import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import { Bio, BioFlag, BioOp, type BioOwner, type BioStatus } from '../../../src/block/bio.ts';
import { type Disk, Extent } from '../../../src/block/ops.ts';
import { makePage, pageKinds, repeatsWord } from '../fixtures/pages.ts';

const PAGE = 4096;

export class DiskModel {
  readonly bytes: Uint8Array;
  /** By page: 1 if it is stored, also if it is all zeros. */
  readonly isStored: Uint8Array;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.isStored = new Uint8Array(sizeBytes / PAGE);
  }

  write(offset: number, data: Uint8Array): void {
    this.bytes.set(data, offset);
    if (data.length > 0)
      this.isStored.fill(1, Math.floor(offset / PAGE), Math.ceil((offset + data.length) / PAGE));
  }

  /** Returns the number of pages dropped. */
  discard(offset: number, length: number): number {
    const first = Math.ceil(offset / PAGE);
    const end = Math.floor((offset + length) / PAGE);
    let dropped = 0;
    for (let page = first; page < end; page++) {
      dropped += this.isStored[page]!;
      this.isStored[page] = 0;
      this.bytes.fill(0, page * PAGE, (page + 1) * PAGE);
    }
    return dropped;
  }

  /** Returns the number of pages dropped. */
  writeZeroes(offset: number, length: number, noUnmap: boolean): number {
    this.bytes.fill(0, offset, offset + length);
    if (!noUnmap) return this.discard(offset, length);
    const first = Math.ceil(offset / PAGE);
    const end = Math.floor((offset + length) / PAGE);
    if (first < end) this.isStored.fill(1, first, end);
    return 0;
  }

  get storedPages(): number {
    return this.isStored.reduce((n, s) => n + s, 0);
  }

  get sameFilledPages(): number {
    let n = 0;
    this.isStored.forEach((stored, page) => {
      if (stored === 1 && repeatsWord(this.page(page))) n++;
    });
    return n;
  }

  page(page: number): Uint8Array {
    return this.bytes.subarray(page * PAGE, (page + 1) * PAGE);
  }

  /** The runs of [offset, offset + length), longest possible. */
  extents(offset: number, length: number): [kind: Extent, length: number][] {
    const runs: [Extent, number][] = [];
    for (let at = offset; at < offset + length; ) {
      const page = Math.floor(at / PAGE);
      const next = Math.min(offset + length, (page + 1) * PAGE);
      const isZero = this.page(page).every((b) => b === 0);
      const kind = this.isStored[page] === 0 ? Extent.hole : isZero ? Extent.zero : Extent.data;
      const last = runs[runs.length - 1];
      if (last !== undefined && last[0] === kind) last[1] += next - at;
      else runs.push([kind, next - at]);
      at = next;
    }
    return runs;
  }
}

/** Submits one bio, ticks until it has ended, and returns its status. For disks whose tick ends every completed bio. */
export class Requests implements BioOwner {
  readonly #disk: Disk;
  readonly ended: Bio[] = [];

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  bioEnd(bio: Bio): void {
    this.ended.push(bio);
  }

  submit(op: BioOp, offset: number, length: number, data?: Uint8Array, at = 0, flags = 0): Bio {
    const bio = new Bio();
    Object.assign(bio, { op, offset, length, at, flags, owner: this });
    if (data !== undefined) bio.data = data;
    this.#disk.submit(bio);
    return bio;
  }

  run(op: BioOp, offset: number, length: number, data?: Uint8Array, at = 0, flags = 0): BioStatus {
    const bio = this.submit(op, offset, length, data, at, flags);
    while (this.#disk.tick() > 0);
    assert.equal(this.ended.pop(), bio, 'the bio ended');
    return bio.status;
  }

  write(offset: number, data: Uint8Array): BioStatus {
    return this.run(BioOp.write, offset, data.length, data);
  }

  discard(offset: number, length: number): BioStatus {
    return this.run(BioOp.discard, offset, length);
  }

  zero(offset: number, length: number, noUnmap: boolean): BioStatus {
    return this.run(BioOp.writeZeroes, offset, length, undefined, 0, noUnmap ? BioFlag.noUnmap : 0);
  }

  /** Reads into the middle of a larger array and checks that the bytes around the range are unchanged. */
  read(offset: number, length: number): { status: BioStatus; data: Uint8Array } {
    const around = new Uint8Array(length + 32).fill(0x77);
    const status = this.run(BioOp.read, offset, length, around, 16);
    assert.ok(
      around.subarray(0, 16).every((b) => b === 0x77),
      'before the data',
    );
    assert.ok(
      around.subarray(16 + length).every((b) => b === 0x77),
      'after the data',
    );
    return { status, data: around.subarray(16, 16 + length) };
  }
}

/** A random range of a disk: mostly short and unaligned, often page-aligned, sometimes the entire disk. */
export function randomRange(prng: Prng, sizeBytes: number): { offset: number; length: number } {
  const pages = sizeBytes / PAGE;
  const what = prng.below(10);
  if (what === 0) return { offset: 0, length: sizeBytes };
  if (what < 4) {
    const page = prng.below(pages);
    return { offset: page * PAGE, length: (1 + prng.below(Math.min(8, pages - page))) * PAGE };
  }
  const offset = prng.below(sizeBytes);
  const most = Math.min(sizeBytes - offset, prng.oneIn(3) ? 20_000 : 5000);
  return { offset, length: 1 + prng.below(most) };
}

/** Data to write: pages of any kind one after the other, from any byte on. */
export function randomData(prng: Prng, length: number): Uint8Array {
  const made = new Uint8Array((Math.ceil(length / PAGE) + 1) * PAGE);
  for (let at = 0; at < made.length; at += PAGE)
    makePage(pageKinds[prng.below(pageKinds.length)]!, prng, made.subarray(at, at + PAGE));
  const from = prng.oneIn(2) ? 0 : prng.below(PAGE);
  return made.slice(from, from + length);
}
