/** --persist: images are locked, adopted, refused with a reason and kept; every operation on a disk commits its image at one point. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { SwapError } from '../../src/base/errors.ts';
import { BioOp } from '../../src/block/bio.ts';
import { checkImage } from '../../src/host/check-image.ts';
import { composeParts } from '../../src/host/compose.ts';
import { hostCounters } from '../../src/host/counters.ts';
import { reportOf } from '../../src/host/disk-figures.ts';
import { DiskRequest } from '../../src/host/disk-request.ts';
import { HostEvents } from '../../src/host/events.ts';
import { ImageFolder } from '../../src/host/image-folder.ts';
import { SHARDS_AT } from '../../src/host/image-header.ts';
import { setTotal } from '../../src/host/limits.ts';
import { LocalDisks } from '../../src/host/local-disks.ts';
import { SLOT_TABLE } from '../../src/store/image.ts';
import {
  code,
  config,
  MIB,
  page,
  Rig,
  read,
  skip,
  uid,
  write,
} from '../support/fixtures/image-rig.ts';

const memory = { bytes: 2 ** 30, isGroupLimit: false };

test('the next host has the pages, generations and disks of the previous one', { skip }, () => {
  using rig = new Rig();
  const first = rig.folder();
  const a = rig.disk(first, config('a'));
  rig.disk(first, {
    ...config('b'),
    isShared: true,
    keepSeconds: 60,
    access: { uids: [7], gids: [] },
  });
  write(a, 1, 2, 3);
  new DiskRequest().run(a.disk, BioOp.discard, 2 * 4096, 4096);
  const { generation } = a.image.header;
  rig.end();
  const second = rig.folder();
  const again = rig.disk(second, config('a'));
  assert.equal(again.image.header.generation, generation);
  assert.deepEqual(read(again, 1), page(1));
  assert.deepEqual(read(again, 2), new Uint8Array(4096));
  assert.deepEqual(read(again, 3), page(3));
  assert.match(rig.log.join(), /disk a: 2 pages adopted/);
  const saved = second.saved(['a'], { limitBytes: 0, memory });
  assert.deepEqual(saved, [
    { ...config('b'), isShared: true, keepSeconds: 60, access: { uids: [7], gids: [] } },
  ]);
});

test('the report of a disk has the memory of its image and the pages adopted', {
  skip,
}, async () => {
  using rig = new Rig();
  const facts = { tls: 'off', uris: [], hostPid: 1, hostControl: '' };
  const report = (disks: LocalDisks): unknown[] => {
    const { isPersistent, imageBytes, adoptedPages } = reportOf(disks.figuresOf('a'), facts);
    return [isPersistent, imageBytes, adoptedPages];
  };
  const serve = (images: ImageFolder | null): LocalDisks => {
    const disks = new LocalDisks({
      ...{ parts: composeParts(), codec: 'lz4', total: new Budget(64 * MIB), images },
      ...{ hasUnix: true, socketMode: 0o600, counters: rig.counters, events: new HostEvents() },
      ...{ log: () => undefined, print: () => undefined, trace: () => undefined },
    });
    disks.add(config('a'), false);
    return disks;
  };
  write(rig.disk(rig.folder(), config('a')), 1, 2, 3);
  rig.end();
  const disks = serve(rig.folder());
  const bytesUsed = (): number => statSync(rig.file('a.img')).blocks * 512;
  assert.ok(bytesUsed() > 0);
  assert.deepEqual(report(disks), [true, bytesUsed(), 3]);
  await disks.set('a', { sizeBytes: 16 * MIB }, false);
  assert.deepEqual(report(disks), [true, bytesUsed(), 3], 'after a change of the image');
  await disks.dispose();
  const others = serve(null);
  assert.deepEqual(report(others), [false, 0, 0]);
  await others.dispose();
});

test('a disk of several shards is adopted in all of them', { skip }, () => {
  using rig = new Rig();
  const sizeBytes = 5 * 2 ** 30; // shards of 2 GiB
  const far = [5, 600_000, 1_200_000];
  write(rig.disk(rig.folder(), config('a', sizeBytes)), ...far);
  rig.end();
  const again = rig.disk(rig.folder(), config('a', sizeBytes));
  for (const n of far) assert.deepEqual(read(again, n), page(n));
});

test('a folder and an image are used by one host at a time', { skip }, () => {
  using rig = new Rig();
  rig.disk(rig.folder(), config('a'));
  assert.throws(() => rig.folder(), code('ERR_IO_IN_USE', /another host/));
  assert.throws(() => checkImage(rig.file('a.img')), code('ERR_IO_IN_USE', /in use by/));
});

const damages: readonly [what: string, damage: (path: string) => void, why: RegExp][] = [
  ['empty', (path) => truncateSync(path, 0), /too short/],
  ['shorter than it was', (path) => truncateSync(path, MIB), /bytes instead of/],
  ['foreign', (path) => writeFileSync(path, Buffer.alloc(8192, 'x')), /not the image of a disk/],
  [
    'torn in its header',
    (path) => writeSync(openSync(path, 'r+'), 'x', 600),
    /does not match its checksum/,
  ],
  ['torn in a shard', (path) => writeSync(openSync(path, 'r+'), 'x', 65536), /magic number/],
];

for (const [what, damage, why] of damages)
  test(`an image that is ${what} is refused with a reason, and kept`, { skip }, () => {
    using rig = new Rig();
    const first = rig.disk(rig.folder(), config('a'));
    write(first, 1);
    const { generation } = first.image.header;
    rig.end();
    damage(rig.file('a.img'));
    const checked = checkImage(rig.file('a.img'));
    assert.match(checked.problem ?? '', why);
    const again = rig.disk(rig.folder(), config('a'));
    assert.deepEqual(read(again, 1), new Uint8Array(4096));
    assert.notEqual(again.image.header.generation, generation, 'old clients are refused');
    assert.match(rig.log.join(), why);
    assert.deepEqual(rig.counters.violated(), ['refusedImages']);
    assert.ok(existsSync(rig.file('a.img.refused-1')));
    assert.match(checkImage(rig.file('a.img.refused-1')).problem ?? '', why);
  });

test('frontswap check reports an intact image and changes nothing', { skip }, () => {
  using rig = new Rig();
  write(rig.disk(rig.folder(), config('a')), 1, 2, 3);
  rig.end();
  copyFileSync(rig.file('a.img'), rig.file('copy'));
  const report = checkImage(rig.file('a.img'));
  assert.deepEqual(
    [report.problem, report.pages, report.damaged, report.sizeBytes],
    [null, 3, 0, 8 * MIB],
  );
  assert.deepEqual(checkImage(rig.file('copy')).pages, 3);
});

test('pages that do not match their checksum are reported; reading them is an I/O error', {
  skip,
}, () => {
  using rig = new Rig();
  write(rig.disk(rig.folder(), config('a')), 1, 2);
  rig.end();
  const row = SHARDS_AT + SLOT_TABLE + 12;
  writeSync(openSync(rig.file('a.img'), 'r+'), Buffer.alloc(1, 0x55), 0, 1, row + 4);
  const { damaged, damagedSlots, problem } = checkImage(rig.file('a.img'));
  assert.deepEqual([damaged, damagedSlots, problem], [1, [1], null]);
  const again = rig.disk(rig.folder(), config('a'));
  assert.equal(read(again, 1), null);
  assert.deepEqual(read(again, 2), page(2));
  assert.match(rig.log.join(), /1 pages do not match/);
});

test('an image with pages keeps its size; an empty one takes that of the configuration', {
  skip,
}, () => {
  using rig = new Rig();
  const folder = rig.folder();
  write(rig.disk(folder, config('a')), 1);
  rig.disk(folder, config('b'));
  rig.end();
  const next = rig.folder();
  assert.equal(rig.disk(next, config('a', 16 * MIB)).config.sizeBytes, 8 * MIB);
  assert.equal(rig.disk(next, config('b', 16 * MIB)).config.sizeBytes, 16 * MIB);
  rig.end();
  assert.equal(checkImage(rig.file('b.img')).sizeBytes, 16 * MIB);
});

test('an image that exceeds the limit makes the start fail and is kept', { skip }, () => {
  using rig = new Rig();
  write(rig.disk(rig.folder(), config('a')), ...Array.from({ length: 200 }, (_, n) => n));
  rig.end();
  const folder = rig.folder();
  assert.throws(
    () => rig.disk(folder, config('a'), 256 * 1024),
    code('ERR_IO_NO_ROOM', /raise the limit/),
  );
  assert.equal(rig.disk(folder, config('a')).disk.stats().storedPages, 200);
});

test('unfinished images of a dead host are removed; other files stay', { skip }, () => {
  using rig = new Rig();
  rig.folder();
  rig.end();
  writeFileSync(rig.file('a.img.new'), 'x');
  writeFileSync(rig.file('notes'), 'x');
  rig.folder();
  assert.deepEqual(readdirSync(rig.path).sort(), ['lock', 'notes']);
  assert.match(rig.log.join(), /a\.img\.new, which a dead host left/);
});

test('folders that cannot keep pages are refused', { skip }, () => {
  using rig = new Rig();
  const at = (path: string, bytes: number) =>
    new ImageFolder(path, uid, bytes, { log: () => undefined, counters: hostCounters() });
  assert.throws(() => at(rig.path, 0), code('ERR_IO_NO_ROOM', /total limit/));
  assert.throws(() => at(rig.path, 2 ** 50), code('ERR_IO_NO_ROOM', /has space for/));
  assert.throws(() => at('/proc/self', MIB), SwapError);
  const shared = rig.file('shared');
  mkdirSync(shared);
  chmodSync(shared, 0o777);
  assert.throws(() => at(shared, MIB), code('ERR_IO_UNSAFE_PATH', /writable by other users/));
});

test('the total limit is raised only as far as the folder has space, and never removed', {
  skip,
}, () => {
  using rig = new Rig();
  const folder = rig.folder();
  const total = new Budget(64 * MIB);
  assert.throws(() => setTotal(total, 2 ** 50, folder), code('ERR_IO_NO_ROOM', /has space for/));
  assert.throws(() => setTotal(total, 0, folder), code('ERR_IO_NO_ROOM', /total limit/));
  assert.equal(total.limitBytes, 64 * MIB);
  setTotal(total, 65 * MIB, folder);
  assert.deepEqual([total.limitBytes, folder.totalBytes], [65 * MIB, 65 * MIB]);
});

test('an image that belongs to another user is refused: its owner could change it while it is served', {
  skip: skip || (uid === 0 ? false : 'only root can give files away'),
}, () => {
  using rig = new Rig();
  write(rig.disk(rig.folder(), config('a')), 1);
  rig.end();
  chownSync(rig.file('a.img'), 1, 1);
  rig.disk(rig.folder(), config('a'));
  assert.match(rig.log.join(), /belongs to user 1/);
});
