/**
 * Images and folders with any contents: an image is adopted or refused with a reason, one bad file does not keep a host from
 * starting, and the memory of the folder stays within what the disks are charged.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SwapError } from '../../src/base/errors.ts';
import { BioOp, BioStatus } from '../../src/block/bio.ts';
import type { Ramzswap } from '../../src/block/disks/ramzswap/ramzswap.ts';
import { checkImage } from '../../src/host/check-image.ts';
import { DiskRequest } from '../../src/host/disk-request.ts';
import type { PersistentDisk } from '../../src/host/image-folder.ts';
import { encodeHeader, fileBytes, HEADER_BYTES, SHARDS_AT } from '../../src/host/image-header.ts';
import { COUNTERS_AT, imageOf, SLOT_TABLE } from '../../src/store/image.ts';
import { CounterAt } from '../../src/store/results.ts';
import { config, MIB, page, Rig, read, skip, write } from '../support/fixtures/image-rig.ts';
import { root } from '../support/fixtures/processes.ts';

const GIB = 2 ** 30;
const memory = { bytes: GIB, isGroupLimit: false };
const defaults = { limitBytes: 0, memory };

/** Overwrites bytes of a file. */
function poke(path: string, at: number, bytes: Uint8Array): void {
  writeSync(openSync(path, 'r+'), bytes, 0, bytes.length, at);
}

const verify = ({ disk }: PersistentDisk): void => (disk as Ramzswap).verify();

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
};

const foreign: readonly [what: string, make: (path: string) => void][] = [
  ['a symbolic link to nothing', (path) => symlinkSync('/nonexistent', path)],
  ['a symbolic link to a file', (path) => symlinkSync('/proc/self/exe', path)],
  ['a folder', (path) => mkdirSync(path)],
  ['a FIFO', (path) => execFileSync('mkfifo', [path])],
];

for (const [what, make] of foreign)
  test(`${what} in place of an image is refused and kept`, { skip }, () => {
    using rig = new Rig();
    make(rig.file('a.img'));
    make(rig.file('b.img'));
    make(rig.file('c.img.new'));
    const folder = rig.folder();
    const disk = rig.disk(folder, config('a'));
    assert.deepEqual(folder.saved(['a'], defaults), []);
    write(disk, 1);
    assert.deepEqual(read(disk, 1), page(1));
    assert.match(rig.log.join(), /a\.img: it is not a file.*kept as .*a\.img\.refused-1/);
    assert.match(rig.log.join(), /b\.img: it is not a file/);
    assert.equal(rig.counters.get('refusedImages'), 2, 'the third is no image');
  });

test('frontswap check does not hang on a FIFO', { skip }, () => {
  using rig = new Rig();
  execFileSync('mkfifo', [rig.file('a.img')]);
  const main = join(root, 'build', 'src', 'cli', 'main.js');
  const { status, stdout } = spawnSync(process.execPath, [main, 'check', rig.file('a.img')], {
    timeout: 20_000,
    encoding: 'utf8',
  });
  assert.equal(status, 1);
  assert.match(stdout, /not a file/);
});

test('links and other files in the folder do not count as space for pages', { skip }, () => {
  using rig = new Rig();
  const big = rig.file('big');
  writeFileSync(big, Buffer.alloc(8 * MIB, 'x'));
  mkdirSync(rig.file('folder'));
  symlinkSync('/nonexistent', rig.file('folder/x'));
  symlinkSync('/nonexistent', rig.file('link'));
  const facts = (): { freeBytes: number } => {
    try {
      rig.folder(2 ** 50);
    } catch (error) {
      assert.ok(error instanceof SwapError);
      return error.facts as { freeBytes: number };
    }
    return assert.fail('the folder has no such space');
  };
  const { freeBytes } = facts();
  for (let n = 0; n < 64; n++) symlinkSync('/proc/self/exe', rig.file(`l${n}`));
  assert.ok(Math.abs(facts().freeBytes - freeBytes) < MIB, 'links have no space');
  const kept = rig.file('a.img.refused-1');
  writeFileSync(kept, Buffer.alloc(64 * MIB, 'x'));
  const { freeBytes: less } = facts();
  assert.ok(freeBytes - less > 32 * MIB, 'a refused image is kept, so its space is used');
});

test('settings that no host would write are refused', { skip }, () => {
  using rig = new Rig();
  rig.disk(rig.folder(), config('a'));
  rig.end();
  const settings = [
    'a=8M,backing=/etc/passwd',
    'a=8M,\u001b[2Jlimit=1M',
    'a=8M\u202e',
    'nonsense',
    '',
  ];
  settings.forEach((text, n) => {
    const sizeBytes = 8 * MIB;
    const header = encodeHeader({ sizeBytes, generation: '00000001', settings: text, backing: '' });
    const path = rig.file(`b${n}.img`);
    writeFileSync(path, header);
    truncateSync(path, fileBytes(sizeBytes));
    const { settings: shown = '' } = checkImage(path);
    assert.doesNotMatch(shown, /\p{C}/u);
  });
  const saved = rig.folder().saved([], defaults);
  assert.deepEqual(
    saved.map(({ name }) => name),
    ['a'],
  );
  assert.ok(settings.every((_, n) => existsSync(rig.file(`b${n}.img.refused-1`))));
  assert.doesNotMatch(rig.log.join(), /\p{C}/u);
  assert.equal(rig.counters.get('refusedImages'), settings.length);
});

test('rows of a group that is not in use are ignored', { skip }, () => {
  using rig = new Rig();
  write(rig.disk(rig.folder(), config('a', 16 * MIB)), 1);
  rig.end();
  const slot = 2000; // of group 1
  poke(rig.file('a.img'), SHARDS_AT + SLOT_TABLE + slot * 12, Buffer.alloc(12, 0x41));
  assert.equal(checkImage(rig.file('a.img')).problem, null);
  const again = rig.disk(rig.folder(), config('a', 16 * MIB));
  assert.deepEqual(read(again, slot), new Uint8Array(4096));
  assert.deepEqual(read(again, 1), page(1));
  write(again, slot, slot + 1);
  verify(again);
  assert.deepEqual(read(again, slot), page(slot));
});

test('counters in an image that are not valid counts start again at zero', { skip }, () => {
  using rig = new Rig();
  write(rig.disk(rig.folder(), config('a')), 1);
  rig.end();
  const bad = [Number.NaN, -1, 1.5, 2 ** 60];
  const names = [
    CounterAt.moves,
    CounterAt.compactedPages,
    CounterAt.corruptions,
    CounterAt.refusedByLimit,
  ];
  names.forEach((at, n) => {
    poke(
      rig.file('a.img'),
      SHARDS_AT + COUNTERS_AT + at * 8,
      new Uint8Array(Float64Array.of(bad[n]!).buffer),
    );
  });
  const stats = rig.disk(rig.folder(), config('a')).disk.stats();
  for (const [name, value] of Object.entries(stats))
    if (typeof value === 'number') assert.ok(Number.isSafeInteger(value) && value >= 0, name);
});

test('a log entry of a group that is not in use is refused', { skip }, () => {
  using rig = new Rig();
  write(rig.disk(rig.folder(), config('a', 16 * MIB)), 1);
  rig.end();
  const state = readRow(rig.file('a.img'), 1)[2]!;
  const entry = Buffer.concat([
    word(2000 + 1),
    word(32768),
    word(readRow(rig.file('a.img'), 1)[0]!),
    word(0),
    word(state),
  ]);
  poke(rig.file('a.img'), SHARDS_AT + 64, entry);
  assert.match(checkImage(rig.file('a.img')).problem ?? '', /log names slot 2000/);
});

function readRow(path: string, slot: number): Int32Array {
  const row = Buffer.alloc(12);
  readSync(openSync(path, 'r'), row, 0, 12, SHARDS_AT + SLOT_TABLE + slot * 12);
  return Int32Array.from([0, 4, 8], (at) => row.readInt32LE(at));
}

test('no request allocates memory in the folder beyond what the limit counts', {
  skip,
}, () => {
  using rig = new Rig();
  const size = 4 * GIB;
  const limit = 3 * MIB;
  const check = (open: ReturnType<Rig['disk']>, when: string): void => {
    const used = open.disk.stats().peakUsedBytes + HEADER_BYTES;
    assert.ok(open.image.residentBytes <= used, `${when}: ${open.image.residentBytes} <= ${used}`);
  };
  const opened = rig.disk(rig.folder(), config('a', size), limit);
  write(opened, 1, 700_001);
  check(opened, 'after two writes');
  for (let n = 0; n < size / 4096; n += 300) read(opened, n);
  check(opened, 'after reads of empty pages');
  const request = new DiskRequest();
  for (let n = 100; n < size / 4096; n += 300)
    request.run(opened.disk, BioOp.discard, n * 4096, 4096);
  check(opened, 'after discards of empty pages');
  let refused = 0;
  for (let n = 200; n < size / 4096; n += 300)
    if (request.run(opened.disk, BioOp.write, n * 4096, 4096, { data: page(1) }) !== BioStatus.ok)
      refused++;
  assert.ok(refused > 100);
  check(opened, 'after refused writes');
  const before = opened.image.residentBytes;
  rig.end();
  checkImage(rig.file('a.img'));
  const after = statSync(rig.file('a.img')).blocks * 512;
  assert.ok(after <= before + 65_536, `frontswap check reads few holes: ${after} <= ${before}`);
  const again = rig.disk(rig.folder(), config('a', size), limit);
  assert.deepEqual(read(again, 700_001), page(700_001));
  const adopted = again.image.residentBytes;
  assert.ok(adopted <= before + 65_536, `the adoption reads few holes: ${adopted} <= ${before}`);
  check(again, 'after the adoption');
});

test('any bytes: an image is adopted or refused, and a refused one is kept as it was', {
  skip,
}, () => {
  using rig = new Rig();
  const sizeBytes = 8 * MIB;
  write(
    rig.disk(rig.folder(), config('a', sizeBytes)),
    ...Array.from({ length: 300 }, (_, n) => n * 5),
  );
  rig.end();
  const good = readFileSync(rig.file('a.img'));
  const { groupTable, arena } = imageOf(sizeBytes / 4096);
  const areas = [
    0,
    64,
    4096,
    12_288,
    SLOT_TABLE,
    groupTable,
    arena.classTable,
    arena.runTable,
    arena.zspageTable,
  ];
  for (let seed = 1; seed <= 300; seed++) {
    const bytes = Buffer.from(good);
    let random = seed;
    const below = (n: number): number => {
      random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((random / 2 ** 32) * n);
    };
    for (let n = 1 + below(6); n > 0; n--) {
      const at = SHARDS_AT + areas[below(areas.length)]! + below(120) * 4;
      const values = [0, 1, -1, 0x7fffffff, -0x80000000, below(2 ** 30), 1 << below(31)];
      bytes.writeInt32LE(values[below(values.length)]! | 0, at);
    }
    rmSync(rig.path, { recursive: true });
    mkdirSync(rig.path, { mode: 0o700 });
    writeFileSync(rig.file('a.img'), bytes, { mode: 0o600 });
    const { problem } = checkImage(rig.file('a.img'));
    assert.ok(readFileSync(rig.file('a.img')).equals(bytes), 'frontswap check changes nothing');
    const opened = rig.disk(rig.folder(), config('a', sizeBytes));
    verify(opened);
    const isRefused = existsSync(rig.file('a.img.refused-1'));
    assert.equal(problem !== null, isRefused, `seed ${seed}: ${problem}`);
    for (let n = 0; n < 300; n++) read(opened, n * 5);
    const data = page(3);
    for (let n = 0; n < 200; n++) {
      const status = new DiskRequest().run(opened.disk, BioOp.write, n * 7 * 4096, 4096, { data });
      assert.equal(
        status,
        BioStatus.ok,
        `seed ${seed}: write of page ${n * 7}: ${opened.disk.fault}`,
      );
    }
    verify(opened);
    rig.end();
  }
});

test('an image whose zspages overlap is refused with its pages unchanged', { skip }, () => {
  using rig = new Rig();
  const sizeBytes = 8 * MIB;
  write(rig.disk(rig.folder(), config('a', sizeBytes)), ...Array.from({ length: 60 }, (_, n) => n));
  rig.end();
  const path = rig.file('a.img');
  const { arena } = imageOf(sizeBytes / 4096);
  const pageOf = (zspage: number): number => SHARDS_AT + arena.zspageTable + zspage * 32 + 8;
  const first = readFileSync(path).readInt32LE(pageOf(1));
  for (let zspage = 2; zspage < 6; zspage++) poke(path, pageOf(zspage), word(first));
  const pages = SHARDS_AT + arena.firstPage * 4096;
  const before = readFileSync(path).subarray(pages);
  rig.disk(rig.folder(), config('a', sizeBytes));
  assert.match(rig.log.join(), /same memory page/);
  assert.ok(readFileSync(rig.file('a.img.refused-1')).subarray(pages).equals(before));
});
