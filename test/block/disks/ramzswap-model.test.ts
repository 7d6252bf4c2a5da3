/** Checks ramzswap against a byte array: operations of any alignment, several in flight, with and without a limit. */
import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import { type Bio, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { Ramzswap } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { FakeReturns } from '../../support/fakes/fake-returns.ts';
import { randomTest } from '../../support/fixtures/replay.ts';
import { DiskModel, Requests, randomData, randomRange } from '../../support/models/disk-model.ts';

const PAGES = 48;
const SIZE = PAGES * 4096;

class Twin {
  readonly returns: FakeReturns = new FakeReturns();
  readonly disk: Ramzswap;
  readonly model: DiskModel = new DiskModel(SIZE);
  readonly requests: Requests;
  reads = 0;
  writes = 0;
  discards = 0;
  notifyFree = 0;
  failedWrites = 0;

  constructor(limitBytes: number) {
    this.disk = new Ramzswap({
      sizeBytes: SIZE,
      limitBytes,
      codec: { name: 'lz4', factory: lz4 },
      release: this.returns.factory,
    });
    this.requests = new Requests(this.disk);
  }

  read(offset: number, length: number): void {
    this.reads++;
    const { status, data } = this.requests.read(offset, length);
    assert.equal(status, BioStatus.ok);
    const expected = this.model.bytes.subarray(offset, offset + length);
    assert.equal(Buffer.compare(data, expected), 0, `${length} bytes at ${offset}`);
  }

  write(offset: number, data: Uint8Array): void {
    this.writes++;
    const status = this.requests.write(offset, data);
    if (status === BioStatus.ok) this.model.write(offset, data);
    else {
      assert.equal(status, BioStatus.noSpace);
      assert.notEqual(this.disk.stats().limitBytes, 0, 'only a disk with a limit refuses writes');
      this.failedWrites++;
      this.#takeOver(offset, data);
    }
  }

  discard(offset: number, length: number): void {
    this.discards++;
    assert.equal(this.requests.discard(offset, length), BioStatus.ok);
    this.notifyFree += this.model.discard(offset, length);
  }

  zero(offset: number, length: number, noUnmap: boolean): void {
    this.discards++;
    const status = this.requests.zero(offset, length, noUnmap);
    if (status === BioStatus.ok) this.notifyFree += this.model.writeZeroes(offset, length, noUnmap);
    else {
      assert.equal(status, BioStatus.noSpace);
      this.failedWrites++;
      this.#takeOverZeroes(offset, length, noUnmap);
    }
  }

  slotFree(slot: number): void {
    this.disk.slotFree(slot);
    this.notifyFree += this.model.discard(slot * 4096, 4096);
  }

  extents(offset: number, length: number, runsMax: number): void {
    const runs: [number, number][] = [];
    this.disk.extents(offset, length, (kind, bytes) => runs.push([kind, bytes]) < runsMax);
    const expected = this.model.extents(offset, length).slice(0, runsMax);
    assert.deepEqual(runs, expected, `extents of ${length} at ${offset}, at most ${runsMax}`);
  }

  check(): void {
    const stats = this.disk.stats();
    assert.equal(stats.storedPages, this.model.storedPages, 'storedPages');
    assert.equal(stats.dataBytes, this.model.storedPages * 4096, 'dataBytes');
    assert.equal(stats.sameFilledPages, this.model.sameFilledPages, 'sameFilledPages');
    assert.equal(stats.reads, this.reads, 'reads');
    assert.equal(stats.writes, this.writes, 'writes');
    assert.equal(stats.discards, this.discards, 'discards');
    assert.equal(stats.notifyFree, this.notifyFree, 'notifyFree');
    assert.equal(stats.failedWrites, this.failedWrites, 'failedWrites');
    assert.equal(stats.failedReads, 0, 'failedReads');
    assert.equal(stats.invalidIo, 0, 'invalidIo');
    assert.equal(stats.missFree, 0, 'missFree');
    if (stats.limitBytes !== 0) assert.ok(stats.peakUsedBytes <= stats.limitBytes, 'the limit');
    assert.ok(stats.usedBytes <= stats.peakUsedBytes, 'the peak');
    this.disk.verify();
  }

  /** After a refused write: the pages before the refused one have the new bytes, the others the old ones. */
  #takeOver(offset: number, data: Uint8Array): void {
    const end = offset + data.length;
    let isRefused = false;
    for (let at = offset; at < end; ) {
      const next = Math.min(end, (Math.floor(at / 4096) + 1) * 4096);
      const part = data.subarray(at - offset, next - offset);
      const now = this.requests.read(at, next - at).data;
      this.reads++;
      if (!isRefused && Buffer.compare(now, part) === 0) this.#adopt(at, part);
      else {
        isRefused = true;
        const old = this.model.bytes.subarray(at, next);
        assert.equal(Buffer.compare(now, old), 0, 'a refused page keeps its bytes');
      }
      at = next;
    }
    assert.ok(isRefused || this.#wasEqual(offset, data), 'a page was refused');
  }

  /** If new and old bytes are equal, only the disk knows whether the page was stored. */
  #adopt(at: number, part: Uint8Array): void {
    const old = this.model.bytes.subarray(at, at + part.length);
    const page = Math.floor(at / 4096);
    if (Buffer.compare(old, part) !== 0) this.model.write(at, part);
    else this.model.isStored[page] = this.#isHole(page) ? 0 : 1;
  }

  #takeOverZeroes(offset: number, length: number, noUnmap: boolean): void {
    const dropped = this.disk.stats().notifyFree - this.notifyFree;
    this.notifyFree += dropped;
    for (let page = Math.floor(offset / 4096); page * 4096 < offset + length; page++) {
      const now = this.requests.read(page * 4096, 4096).data;
      this.reads++;
      const from = Math.max(offset, page * 4096) - page * 4096;
      const to = Math.min(offset + length, (page + 1) * 4096) - page * 4096;
      const old = this.model.page(page);
      const zeroed = old.slice().fill(0, from, to);
      const isNew = Buffer.compare(now, zeroed) === 0;
      assert.ok(isNew || Buffer.compare(now, old) === 0, 'a page is zeroed or unchanged');
      assert.ok(noUnmap || isNew || to - from < 4096, 'freeing a page needs no space');
      old.set(now);
      this.model.isStored[page] = this.#isHole(page) ? 0 : 1;
    }
  }

  #wasEqual(offset: number, data: Uint8Array): boolean {
    return Buffer.compare(this.model.bytes.subarray(offset, offset + data.length), data) === 0;
  }

  #isHole(page: number): boolean {
    let isHole = false;
    this.disk.extents(page * 4096, 4096, (kind) => {
      isHole = kind === 1;
      return false;
    });
    return isHole;
  }
}

function drive(twin: Twin, prng: Prng, steps: number): void {
  for (let i = 0; i < steps; i++) {
    const { offset, length } = randomRange(prng, SIZE);
    const what = prng.below(20);
    if (what < 7) twin.write(offset, randomData(prng, length));
    else if (what < 11) twin.read(offset, length);
    else if (what < 14) twin.discard(offset, length);
    else if (what < 16) twin.zero(offset, length, prng.oneIn(2));
    else if (what < 18) twin.extents(offset, length, prng.oneIn(3) ? 1 + prng.below(4) : 10_000);
    else if (what === 18) {
      twin.disk.compactIdle();
      twin.slotFree(prng.below(PAGES));
    } else if (prng.oneIn(10)) {
      twin.disk.reset();
      twin.model.discard(0, SIZE);
    } else while (twin.disk.compactIdle());
    twin.check();
  }
  twin.read(0, SIZE);
}

randomTest('the disk matches a byte array', 1500, (prng, steps) => {
  drive(new Twin(0), prng, steps);
});

randomTest('a disk with a limit keeps its pages when it refuses writes', 1500, (prng, steps) => {
  const twin = new Twin(65536 + 12288 + 60_000 + prng.below(60_000));
  drive(twin, prng, steps);
  assert.ok(twin.failedWrites > 0, 'the limit was reached');
});

randomTest('a disk whose limit admits no page reads as zeros', 200, (prng, steps) => {
  drive(new Twin(4096), prng, steps);
});

randomTest(
  'bios in flight end at the next tick, in the order of submission',
  300,
  (prng, steps) => {
    const twin = new Twin(0);
    const { model, requests, disk } = twin;
    for (let i = 0; i < steps; i++) {
      const sent: Bio[] = [];
      const expected: (Uint8Array | null)[] = [];
      const count = 1 + prng.below(12);
      for (let k = 0; k < count; k++) {
        const { offset, length } = randomRange(prng, SIZE);
        if (prng.oneIn(2)) {
          const data = randomData(prng, length);
          sent.push(requests.submit(BioOp.write, offset, length, data));
          model.write(offset, data);
          data.fill(0xee); // the disk is synchronous and has read the data
          expected.push(null);
        } else {
          sent.push(requests.submit(BioOp.read, offset, length, new Uint8Array(length)));
          expected.push(model.bytes.slice(offset, offset + length));
        }
      }
      assert.equal(requests.ended.length, 0, 'no bio ends inside submit()');
      assert.equal(disk.tick(), count);
      assert.deepEqual(requests.ended, sent);
      sent.forEach((bio, k) => {
        assert.equal(bio.status, BioStatus.ok);
        if (expected[k] !== null) assert.deepEqual(bio.data, expected[k]);
      });
      requests.ended.length = 0;
      assert.equal(disk.tick(), 0);
    }
  },
);
