/** How native code reads pages of a swap file: beside the engine's own writes, and where a read fails. */
import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { Bio, BioOp, BioStatus } from '../../src/block/bio.ts';
import { sumsOf } from '../../src/block/filters/checksum-disk.ts';
import { openSwapFile, type SwapFile } from '../../src/memory/swap-file.ts';
import { NativePage } from '../../src/native/layout.ts';
import { BitMap } from '../../src/swap/bit-map.ts';
import { entryOf } from '../../src/swap/entry.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { Errno } from './failures.ts';
import { PAGES, Rig, skipUnlessNative } from './rig.ts';

const PAGE = 4096;
const SLOTS = 64;
const TYPE = 3;
const options = { skip: skipUnlessNative, timeout: 60_000 };
/** What fs_load() returns: the page was read, or JavaScript has to read it. */
const Read = { done: 1, javascript: 0 } as const;

const contents = (slot: number): Uint8Array =>
  Uint8Array.from({ length: PAGE }, (_, i) => Math.imul(i + 1, slot + 1) >>> (i & 7));
const entry = (slot: number): number => entryOf(TYPE, slot);

function write({ disk }: SwapFile, slot: number): void {
  const bio = new Bio();
  bio.op = BioOp.write;
  bio.offset = slot * PAGE;
  bio.length = PAGE;
  bio.data = contents(slot);
  let status: BioStatus | null = null;
  bio.owner = {
    bioEnd(ended) {
      status = ended.status;
    },
  };
  disk.submit(bio);
  while (status === null) disk.tick();
  assert.equal(status, BioStatus.ok);
}

class Files {
  readonly rig = new Rig();
  readonly file: SwapFile;
  readonly zero = new BitMap(SLOTS);
  readonly path: string;

  constructor(t: TestContext) {
    this.path = `${testFolder(t)}/swap`;
    this.file = openSwapFile({
      kind: 'file',
      path: this.path,
      sizeBytes: SLOTS * PAGE,
      keep: true,
    });
    for (let slot = 1; slot < SLOTS; slot++) write(this.file, slot);
    const { fd, disk } = this.file;
    const zero = this.zero.bytes;
    this.rig.control.addArea({ type: TYPE, slots: SLOTS, fd, sums: sumsOf(disk), zero });
  }

  /** Reads a slot, and checks the page if it was read. */
  read(slot: number): number {
    const page = new Uint8Array(PAGE);
    const read = this.rig.load(entry(slot), page);
    if (read === Read.done) assert.deepEqual(page, this.expected(slot), `slot ${slot}`);
    return read;
  }

  expected(slot: number): Uint8Array {
    return this.zero.has(slot) ? new Uint8Array(PAGE) : contents(slot);
  }

  /** Changes the file behind the swap's back. */
  change(body: (fd: number) => void): void {
    const fd = openSync(this.path, 'r+');
    body(fd);
    closeSync(fd);
  }

  [Symbol.dispose](): void {
    this.rig[Symbol.dispose]();
    this.file[Symbol.dispose]();
  }
}

test('a page of a file is read, and a page of zeros needs no read', options, (t) => {
  using files = new Files(t);
  files.zero.set(9);
  for (let slot = 1; slot < SLOTS; slot++) assert.equal(files.read(slot), Read.done);
  files.change((fd) => ftruncateSync(fd, 0));
  assert.equal(files.read(9), Read.done);
});

test(
  'a slot outside the file, or of an area that is not a file, is left to JavaScript',
  options,
  (t) => {
    using files = new Files(t);
    assert.equal(files.read(SLOTS), Read.javascript);
    const page = new Uint8Array(PAGE);
    assert.equal(files.rig.load(entryOf(TYPE + 1, 1), page), Read.javascript);
    assert.equal(files.rig.load(entryOf(TYPE, 1) - 1, page), Read.javascript);
    assert.equal(files.rig.load(entryOf(31, 1), page), Read.javascript);
  },
);

test(
  'a page that is truncated, overwritten or was never written is left to JavaScript',
  options,
  (t) => {
    using files = new Files(t);
    files.change((fd) => writeSync(fd, Uint8Array.of(1, 2, 3), 0, 3, 5 * PAGE + 99));
    sumsOf(files.file.disk)[6] = 0;
    files.change((fd) => ftruncateSync(fd, 20 * PAGE + 512));
    for (let slot = 1; slot < SLOTS; slot++) {
      const isWhole = slot < 20 && slot !== 5 && slot !== 6;
      assert.equal(files.read(slot), isWhole ? Read.done : Read.javascript, `slot ${slot}`);
    }
  },
);

test('a read that fails is retried, or left to JavaScript', options, (t) => {
  using files = new Files(t);
  const { rig } = files;
  for (const [name, errno] of Object.entries(Errno))
    for (const every of [1, 2]) {
      rig.fail('pread', errno, every);
      const isRepeated = every === 2 && (name === 'EINTR' || name === 'EAGAIN');
      const reads = [files.read(1), files.read(2), files.read(3), files.read(4)];
      const expected = isRepeated ? 4 : every === 2 ? 2 : 0;
      assert.equal(reads.filter((read) => read === Read.done).length, expected, `${name} ${every}`);
      assert.ok(rig.fail('pread') >= 4, name);
    }
  assert.equal(files.read(1), Read.done);
});

test(
  'neighbours in a file are read in one call, up to the first that cannot be read',
  options,
  (t) => {
    using files = new Files(t);
    const { rig } = files;
    const slots = Array.from({ length: PAGES }, (_, page) => page + 1);
    slots[10] = 40; // the run is broken on both sides
    files.zero.set(4);
    const storeAll = (): void => slots.forEach((slot, page) => void rig.store(page, entry(slot)));
    storeAll();
    rig.fail('pread');
    assert.equal(rig.bring(0, PAGES), PAGES);
    assert.ok(rig.fail('pread') === 0, 'calls are counted only while they may fail');
    for (let page = 0; page < PAGES; page++)
      assert.deepEqual(rig.page(page), files.expected(slots[page]!), `page ${page}`);

    storeAll();
    rig.fail('pread', Errno.EINTR, 1_000_000);
    assert.equal(rig.bring(0, PAGES), PAGES);
    // The first page (twice: EINTR), those up to the break, the break, the rest.
    assert.equal(rig.fail('pread'), 5);

    storeAll();
    files.change((fd) => writeSync(fd, Uint8Array.of(1, 2, 3), 0, 3, 7 * PAGE));
    assert.equal(rig.bring(0, PAGES), 6);
    for (let page = 0; page < PAGES; page++)
      assert.equal(
        rig.states[page],
        page < 6 ? NativePage.clean : NativePage.stored,
        `page ${page}`,
      );
  },
);

test('the checksum of a page is that of the swap file', options, (t) => {
  using files = new Files(t);
  for (let slot = 1; slot < SLOTS; slot++) {
    const sum = files.rig.blockSum(contents(slot));
    assert.equal(sum | 0, sumsOf(files.file.disk)[slot], `slot ${slot}`);
  }
});
