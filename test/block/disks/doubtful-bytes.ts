/**
 * A disk as an array of bytes, some of them uncertain: after a failed write each sector has either its old or its new
 * contents, until a read determines which. Bios are applied in the order of submission, so a disk equals this model if
 * overlapping bios took effect in that order.
 */
import assert from 'node:assert/strict';
import { type Bio, BioFlag, BioOp, BioStatus } from '../../../src/block/bio.ts';

const SECTOR = 512;
const PAGE = 4096;

export class DoubtfulBytes {
  /** By sector: its possible contents, each once. */
  readonly #may: Uint8Array[][];

  constructor(initial: Uint8Array) {
    this.#may = [];
    for (let at = 0; at < initial.length; at += SECTOR)
      this.#may.push([initial.slice(at, at + SECTOR)]);
  }

  /** Sectors with more than one possible content. */
  get doubtful(): number {
    return this.#may.filter((may) => may.length > 1).length;
  }

  /** Applies a completed bio. `data` is the data it wrote or read. */
  apply({ op, offset, length, flags, status }: Bio, data: Uint8Array): void {
    const isOk = status === BioStatus.ok;
    if (op === BioOp.write) this.#change(offset, data, isOk);
    else if (op === BioOp.read && isOk) this.#expect(offset, data);
    else if (
      op === BioOp.discard ||
      (op === BioOp.writeZeroes && (flags & BioFlag.noUnmap) === 0)
    ) {
      // Dropping full pages needs no I/O, so it cannot fail.
      const first = Math.min(offset + length, Math.ceil(offset / PAGE) * PAGE);
      const end = Math.max(first, Math.floor((offset + length) / PAGE) * PAGE);
      this.#change(first, new Uint8Array(end - first), true);
      if (op === BioOp.discard) return;
      this.#change(offset, new Uint8Array(first - offset), isOk);
      this.#change(end, new Uint8Array(offset + length - end), isOk);
    } else if (op === BioOp.writeZeroes) this.#change(offset, new Uint8Array(length), isOk);
  }

  free(slot: number): void {
    this.#change(slot * PAGE, new Uint8Array(PAGE), true);
  }

  #change(offset: number, data: Uint8Array, isSure: boolean): void {
    this.#eachSector(offset, data, (may, from, part) => {
      const changed = may.map((old) => {
        const now = old.slice();
        now.set(part, from);
        return now;
      });
      return distinct(isSure ? changed : [...may, ...changed]);
    });
  }

  #expect(offset: number, data: Uint8Array): void {
    this.#eachSector(offset, data, (may, from, part, sector) => {
      const left = may.filter((one) => same(one.subarray(from, from + part.length), part));
      assert.ok(
        left.length > 0,
        `sector ${sector & 7} of page ${sector >> 3} (${may.length} possible)`,
      );
      return left;
    });
  }

  #eachSector(
    offset: number,
    data: Uint8Array,
    then: (may: Uint8Array[], from: number, part: Uint8Array, sector: number) => Uint8Array[],
  ): void {
    for (let at = 0; at < data.length; ) {
      const sector = Math.floor((offset + at) / SECTOR);
      const from = (offset + at) % SECTOR;
      const length = Math.min(SECTOR - from, data.length - at);
      this.#may[sector] = then(this.#may[sector]!, from, data.subarray(at, at + length), sector);
      at += length;
    }
  }
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

const distinct = (all: Uint8Array[]): Uint8Array[] =>
  all.filter((one, i) => all.findIndex((other) => same(one, other)) === i);
