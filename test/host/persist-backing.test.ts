/** --persist for disks with a backing: the next host has the pages at the backing, or says why not. */
import assert from 'node:assert/strict';
import {
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { test } from 'node:test';
import { BioOp, BioStatus } from '../../src/block/bio.ts';
import { belowInImage } from '../../src/block/disks/ramzswap/backing-tables.ts';
import { checkImage } from '../../src/host/check-image.ts';
import { composeParts } from '../../src/host/compose.ts';
import type { DiskConfig } from '../../src/host/disk-config.ts';
import { DiskRequest } from '../../src/host/disk-request.ts';
import type { ImageFolder, PersistentDisk } from '../../src/host/image-folder.ts';
import { tablesAt } from '../../src/host/image-header.ts';
import { code, config, MIB, Rig, skip } from '../support/fixtures/image-rig.ts';
import { madePage } from '../support/fixtures/pages.ts';

const PAGE = 4096;
const SIZE = 8 * MIB;
const memory = { bytes: 2 ** 30, isGroupLimit: false };
const defaults = { limitBytes: 0, memory };

/** Even pages stay in RAM, odd ones go to the backing. */
const page = (n: number): Uint8Array => {
  const bytes = madePage('random', n);
  return n % 2 === 0 ? bytes.fill(0, PAGE / 4) : bytes;
};

function backingFile(rig: Rig, name = 'pages'): string {
  const path = rig.file(name);
  writeFileSync(path, '', { mode: 0o600 });
  truncateSync(path, SIZE);
  return path;
}

const withBacking = (backing: string): DiskConfig => ({ ...config('a', SIZE), backing });

function open(folder: ImageFolder, disk: DiskConfig): PersistentDisk {
  const parts = composeParts();
  return folder.open(disk, ({ sizeBytes, limitBytes, backing }, images) =>
    parts.createDisk({
      ...{ sizeBytes, limitBytes, images, codec: 'lz4' },
      ...(backing === undefined ? {} : { backing }),
    }),
  );
}

function end(rig: Rig, { disk, image }: PersistentDisk): void {
  disk[Symbol.dispose]();
  image[Symbol.dispose]();
  rig.end();
}

const request = new DiskRequest();

async function run({ disk }: PersistentDisk, op: BioOp, n: number, data?: Uint8Array) {
  const more = data === undefined ? {} : { data };
  return request.start(disk, op, n * PAGE, PAGE, more) ?? (await request.end(disk));
}

async function write(disk: PersistentDisk, ...numbers: number[]): Promise<void> {
  for (const n of numbers) assert.equal(await run(disk, BioOp.write, n, page(n)), BioStatus.ok);
}

async function read(disk: PersistentDisk, n: number): Promise<Uint8Array | null> {
  const data = new Uint8Array(PAGE);
  return (await run(disk, BioOp.read, n, data)) === BioStatus.ok ? data : null;
}

/** A rig with an image of disk `a` that has pages 1 to 4; 1 and 3 are at the backing. */
async function filled(rig: Rig): Promise<string> {
  const path = backingFile(rig);
  const disk = open(rig.folder(), withBacking(path));
  await write(disk, 1, 2, 3, 4, 5);
  assert.equal(await run(disk, BioOp.discard, 5), BioStatus.ok);
  assert.equal(disk.disk.stats().backingBytes, 2 * PAGE);
  end(rig, disk);
  return path;
}

test('the next host has the pages in RAM and at the backing', { skip }, async () => {
  using rig = new Rig();
  const path = await filled(rig);
  const folder = rig.folder();
  const saved = folder.saved([], defaults);
  assert.deepEqual(saved, [withBacking(path)]);
  const disk = open(folder, saved[0]!);
  for (const n of [1, 2, 3, 4]) assert.deepEqual(await read(disk, n), page(n));
  for (const n of [0, 5, 6]) assert.deepEqual(await read(disk, n), new Uint8Array(PAGE));
  assert.match(rig.log.join(), /disk a: 4 pages adopted, 2 of them on its backing/);
  await write(disk, 1, 7);
  assert.deepEqual(await read(disk, 7), page(7));
  end(rig, disk);
});

test('a page that the backing has changed is an I/O error, and the others are served', {
  skip,
}, async () => {
  using rig = new Rig();
  const path = await filled(rig);
  writeSync(openSync(path, 'r+'), 'x', 3 * PAGE);
  assert.deepEqual(checkImage(rig.file('a.img')).atBacking, {
    ...{ pages: 2, damaged: 1, problem: null },
  });
  const disk = open(rig.folder(), withBacking(path));
  assert.equal(await read(disk, 3), null);
  assert.deepEqual(await read(disk, 1), page(1));
  end(rig, disk);
});

test('an image with pages at a backing is not used with another one, or none, and is kept', {
  skip,
}, async () => {
  using rig = new Rig();
  const path = await filled(rig);
  const before = readFileSync(rig.file('a.img'));
  for (const other of [withBacking(backingFile(rig, 'other')), config('a', SIZE)]) {
    assert.throws(
      () => open(rig.folder(), other),
      code('ERR_ARG_CONFLICT', /has pages on the backing .*: configure that backing, or move/),
    );
    rig.end();
  }
  assert.ok(before.equals(readFileSync(rig.file('a.img'))), 'the image has not changed');
  const disk = open(rig.folder(), withBacking(path));
  assert.deepEqual(await read(disk, 3), page(3));
  // Without pages at the backing, another one is as good.
  for (const n of [1, 3]) assert.equal(await run(disk, BioOp.discard, n), BioStatus.ok);
  end(rig, disk);
  const next = open(rig.folder(), withBacking(rig.file('other')));
  assert.deepEqual(await read(next, 2), page(2));
  await write(next, 1);
  end(rig, next);
  assert.throws(() => open(rig.folder(), withBacking(path)), code('ERR_ARG_CONFLICT', /backing/));
});

test('an image whose backing is missing or another file is refused, if only the folder names the disk', {
  skip,
}, async () => {
  for (const hurt of ['missing', 'replaced']) {
    using rig = new Rig();
    const path = await filled(rig);
    renameSync(path, rig.file('elsewhere'));
    if (hurt === 'replaced') backingFile(rig);
    const why = hurt === 'missing' ? /does not exist/ : /is not the one that it used/;
    assert.deepEqual(rig.folder().saved([], defaults), []);
    assert.match(rig.log.join(), why);
    assert.ok(existsSync(rig.file('a.img.refused-1')));
  }
});

test('a check reads the pages at the backing, and changes neither file', { skip }, async () => {
  using rig = new Rig();
  const path = await filled(rig);
  const before = [rig.file('a.img'), path].map((file) => readFileSync(file));
  const report = checkImage(rig.file('a.img'));
  assert.deepEqual([report.problem, report.pages, report.damaged], [null, 2, 0]);
  assert.deepEqual(report.atBacking, { pages: 2, damaged: 0, problem: null });
  const after = [rig.file('a.img'), path].map((file) => readFileSync(file));
  assert.ok(before.every((bytes, i) => bytes.equals(after[i]!)));
  renameSync(path, rig.file('elsewhere'));
  const without = checkImage(rig.file('a.img'));
  assert.equal(without.problem, null);
  assert.deepEqual([without.atBacking?.pages, without.atBacking?.damaged], [2, null]);
  assert.match(without.atBacking?.problem ?? '', /ENOENT/);
});

const words = (...values: number[]): Buffer => Buffer.from(Int32Array.from(values).buffer);
const WRITE = BioOp.write << 16;

const damages: readonly [what: string, at: number, bytes: Buffer, why: RegExp][] = [
  ['another magic number', 0, words(1), /tables of the backing/],
  ['another version', 4, words(9), /tables of the backing/],
  ['another number of slots', 8, words(7), /disk of 7 slots/],
  ['a write of an unknown operation', 64, words((7 << 16) | 1, 0), /impossible range 0 .. 1/],
  ['a write of too many pages', 64, words(WRITE | 65, 0), /impossible range 0 .. 65/],
  ['a write of no pages', 64, words(WRITE, 5), /impossible range 5 .. 5/],
  ['a write past the disk', 64, words(WRITE | 2, SIZE / PAGE - 1), /impossible range 2047 .. 2049/],
  ['a write before the disk', 64, words(WRITE | 2, -1), /impossible range -1 .. 1/],
];

for (const [what, at, bytes, why] of damages)
  test(`tables of a backing with ${what} are refused`, { skip }, async () => {
    using rig = new Rig();
    const path = await filled(rig);
    writeSync(openSync(rig.file('a.img'), 'r+'), bytes, 0, bytes.length, tablesAt(SIZE) + at);
    assert.match(checkImage(rig.file('a.img')).problem ?? '', why);
    const disk = open(rig.folder(), withBacking(path));
    assert.match(rig.log.join(), why);
    assert.deepEqual(await read(disk, 1), new Uint8Array(PAGE));
    end(rig, disk);
  });

test('a slot past the last one in the bitmap of a backing is refused', { skip }, async () => {
  using rig = new Rig();
  const path = backingFile(rig);
  const small = { ...withBacking(path), sizeBytes: SIZE - PAGE };
  end(rig, open(rig.folder(), small));
  const { at, length } = belowInImage(small.sizeBytes / PAGE);
  const last = tablesAt(small.sizeBytes) + at + length - 1;
  writeSync(openSync(rig.file('a.img'), 'r+'), Buffer.from([0x80]), 0, 1, last);
  assert.match(checkImage(rig.file('a.img')).problem ?? '', /slots past the last one/);
});
