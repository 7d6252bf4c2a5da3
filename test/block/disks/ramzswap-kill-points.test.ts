/**
 * Every kill point of a disk with a backing: random bios on a disk whose tables report each of their stores, over a backing
 * that reports each page it writes. After each one, memories and backing are copied, as a killed process would leave them,
 * and adopted by a second disk. Its pages must be those of a naive model: before or after the bio in progress.
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import { bytes } from '../../../src/base/units.ts';
import { type Bio, BioFlag, BioOp, BioQueue, BioStatus } from '../../../src/block/bio.ts';
import { nullDisk } from '../../../src/block/disks/null-disk.ts';
import { backingTableBytes } from '../../../src/block/disks/ramzswap/backing.ts';
import {
  belowInImage,
  type RamzswapImages,
  tablesImageBytes,
} from '../../../src/block/disks/ramzswap/backing-tables.ts';
import { Ramzswap, type RamzswapOptions } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import type { Disk } from '../../../src/block/ops.ts';
import { createMemory, type LinearMemory } from '../../../src/codec/linear-memory.ts';
import { imageOf } from '../../../src/store/image.ts';
import { FakeReturns } from '../../support/fakes/fake-returns.ts';
import { type BioFields, Sender } from '../../support/fixtures/bio-sender.ts';
import { madePage, pageKinds } from '../../support/fixtures/pages.ts';
import { randomTest } from '../../support/fixtures/replay.ts';
import { watchAtomics, withWatchedTables } from '../../support/fixtures/watched-tables.ts';

const PAGE = 4096;
const PAGES = 40;
const SIZE = PAGES * PAGE;
const RUN_PAGES = 6;
const layout = imageOf(PAGES);
const ARENA_BYTES = layout.arena.firstPage * PAGE + 128 * PAGE;

/** What outlives a process: the memory of the shard, the tables of the backing, and the backing. */
class Remains implements RamzswapImages {
  readonly shard: LinearMemory = createMemory(layout.bytes);
  readonly tables: LinearMemory = createMemory(tablesImageBytes(PAGES));
  readonly backing: Uint8Array = new Uint8Array(SIZE);

  has(): boolean {
    return new Int32Array(this.shard.buffer, 0, 1)[0] !== 0;
  }

  open(): ReturnType<RamzswapImages['open']> {
    return {
      memory: this.shard,
      release: new FakeReturns().over(new Uint8Array(this.shard.buffer)),
    };
  }

  openTables(length: number): LinearMemory {
    assert.equal(length, this.tables.buffer.byteLength);
    return this.tables;
  }

  copyFrom(from: Remains): void {
    new Uint8Array(this.shard.buffer).set(new Uint8Array(from.shard.buffer, 0, ARENA_BYTES));
    new Uint8Array(this.tables.buffer).set(new Uint8Array(from.tables.buffer));
    this.backing.set(from.backing);
  }
}

/** How much of a write is done when the backing is full: some complete pages. */
const halfOf = (length: number): number => Math.floor(length / 2 / PAGE) * PAGE;
/** Without space in RAM, a page that a refused write has changed at the backing is lost: its writer keeps it. */
const noneOf = (): number => 0;

/** A disk over bytes that completes bios in tick(), page by page. */
function pagewise(
  target: Uint8Array,
  onPage: () => void,
  mustFail: () => boolean,
  failedBytes: (length: number) => number,
): Disk {
  const queue = new BioQueue();
  const perform = (bio: Bio): void => {
    const fails = mustFail();
    bio.status = fails && bio.op === BioOp.write ? BioStatus.noSpace : BioStatus.ok;
    const applied = bio.status === BioStatus.ok ? bio.length : failedBytes(bio.length);
    for (let at = 0; at < applied; at += PAGE) {
      const page = target.subarray(bio.offset + at, bio.offset + at + PAGE);
      if (bio.op === BioOp.read) bio.data.set(page, bio.at + at);
      else if (bio.op === BioOp.write) page.set(bio.data.subarray(bio.at + at, bio.at + at + PAGE));
      else page.fill(0);
      if (bio.op !== BioOp.read) onPage();
    }
  };
  return {
    ...nullDisk(SIZE),
    sizeBytes: bytes(SIZE),
    synchronous: false,
    submit: (bio) => queue.push(bio),
    tick() {
      const due = queue.length;
      for (let i = 0; i < due; i++) {
        const bio = queue.shift()!;
        perform(bio);
        bio.owner.bioEnd(bio);
      }
      return due;
    },
  };
}

const ZEROS = new Uint8Array(PAGE);

class Trial {
  readonly #live = new Remains();
  readonly #copy = new Remains();
  readonly #model: Uint8Array[] = new Array(PAGES).fill(ZEROS);
  /** What a page may be instead: the bio in progress. */
  readonly #next = new Map<number, Uint8Array>();
  readonly #prng: Prng;
  readonly #limitBytes: number;
  readonly #disk: Ramzswap;
  readonly #sender: Sender;
  #isArmed = false;
  points = 0;
  /** Kills with a page in RAM and at the backing. */
  twice = 0;
  forwarded = 0;
  failed = 0;

  constructor(prng: Prng, limitBytes: number) {
    this.#prng = prng;
    this.#limitBytes = limitBytes;
    this.#disk = withWatchedTables(
      () => this.#kill(),
      () =>
        this.#open(
          this.#live,
          pagewise(
            this.#live.backing,
            () => this.#kill(),
            () => this.#fails(),
            limitBytes === 0 ? halfOf : noneOf,
          ),
        ),
    );
    this.#sender = new Sender(this.#disk);
  }

  run(steps: number): void {
    const restore = watchAtomics(() => this.#kill());
    try {
      for (let step = 0; step < steps; step++) this.#step();
    } finally {
      restore();
    }
    this.forwarded = this.#disk.stats().backingWrites;
    assert.ok(
      Buffer.from(this.#live.shard.buffer, ARENA_BYTES).every((byte) => byte === 0),
      'the copied part has all that was stored',
    );
  }

  #open(remains: Remains, disk: Disk): Ramzswap {
    const options: RamzswapOptions = {
      sizeBytes: SIZE,
      limitBytes: this.#limitBytes,
      images: remains,
      backing: { disk, showsOldData: false },
    };
    return new Ramzswap(options);
  }

  #fails(): boolean {
    const fails = this.#isArmed && this.#prng.oneIn(8);
    if (fails) this.failed++;
    return fails;
  }

  #step(): void {
    const prng = this.#prng;
    const count = 1 + prng.below(RUN_PAGES);
    const first = prng.below(PAGES - count + 1);
    const range = { offset: first * PAGE, length: count * PAGE };
    const kind = prng.below(20);
    if (kind < 12) {
      const data = new Uint8Array(range.length);
      // Often incompressible pages next to each other, which share a bio to the backing.
      const isPoor = prng.oneIn(2);
      for (let at = 0; at < data.length; at += PAGE) {
        const kindOfPage = isPoor ? 'random' : pageKinds[prng.below(pageKinds.length)]!;
        data.set(madePage(kindOfPage, prng.u32()), at);
      }
      this.#run({ op: BioOp.write, offset: range.offset, data }, (page) =>
        data.slice((page - first) * PAGE, (page - first + 1) * PAGE),
      );
    } else if (kind < 15) this.#run({ op: BioOp.discard, ...range }, () => ZEROS);
    else if (kind < 18) {
      const flags = prng.oneIn(3) ? 0 : BioFlag.noUnmap;
      this.#run({ op: BioOp.writeZeroes, ...range, flags }, () => ZEROS);
    } else {
      const data = Uint8Array.from(this.#model[first]!);
      const flags = BioFlag.writeBack;
      this.#run({ op: BioOp.write, offset: range.offset, data, flags }, () => data);
    }
  }

  #run(fields: BioFields, after: (page: number) => Uint8Array): void {
    const first = fields.offset! / PAGE;
    const end = first + (fields.data?.length ?? fields.length!) / PAGE;
    for (let page = first; page < end; page++) this.#next.set(page, after(page));
    this.#isArmed = true;
    const { status } = this.#sender.run(fields);
    this.#isArmed = false;
    // A refused write leaves each of its pages with the old or the new contents, until it is read.
    for (const [page, data] of this.#next)
      this.#model[page] = status === BioStatus.ok ? data : this.#either(page, data);
    this.#next.clear();
  }

  #either(page: number, data: Uint8Array): Uint8Array {
    const found = this.#read(this.#sender, page);
    if (Buffer.compare(found, data) !== 0)
      assert.equal(Buffer.compare(found, this.#model[page]!), 0, `page ${page}`);
    return found;
  }

  #read(sender: Sender, page: number): Uint8Array {
    const bio = sender.run({
      op: BioOp.read,
      offset: page * PAGE,
      data: new Uint8Array(PAGE),
    });
    assert.equal(bio.status, BioStatus.ok, `page ${page}`);
    return bio.data;
  }

  #kill(): void {
    if (!this.#isArmed) return;
    this.#isArmed = false;
    this.points++;
    this.#copy.copyFrom(this.#live);
    const disk = this.#open(
      this.#copy,
      pagewise(
        this.#copy.backing,
        () => undefined,
        () => false,
        noneOf,
      ),
    );
    disk.verify();
    if (this.#atBacking(this.#copy) < this.#atBacking(this.#live)) this.twice++;
    const sender = new Sender(disk);
    for (let page = 0; page < PAGES; page++) {
      const found = this.#read(sender, page);
      const next = this.#next.get(page);
      const is = (data: Uint8Array): boolean => Buffer.compare(found, data) === 0;
      assert.ok(
        is(this.#model[page]!) || (next !== undefined && is(next)),
        `page ${page} is that of before or after the bio`,
      );
    }
    this.#isArmed = true;
  }

  #atBacking({ tables }: Remains): number {
    const { at, length } = belowInImage(PAGES);
    let count = 0;
    for (const byte of new Uint8Array(tables.buffer, at, length))
      for (let bits = byte; bits !== 0; bits &= bits - 1) count++;
    return count;
  }
}

for (const [name, limitBytes] of [
  ['without a limit', 0],
  ['at its limit', backingTableBytes(SIZE) + 65536 + 12288 + 20_000],
] as const)
  randomTest(
    `killed after any store, a disk ${name} with a backing has each page of before or after`,
    50,
    (prng, steps, t) => {
      const trial = new Trial(prng, limitBytes);
      trial.run(steps);
      const { points, twice, forwarded, failed } = trial;
      t.diagnostic(
        `${points} kill points, ${twice} with two copies of a page, ${forwarded} pages to the backing, ${failed} bios failed`,
      );
      assert.ok(points > steps, 'bios store');
      assert.ok(twice > 0, 'some kills left a page in RAM and at the backing');
      assert.ok(forwarded > 0 && failed > 0, 'the backing was used, and was full at times');
    },
  );
