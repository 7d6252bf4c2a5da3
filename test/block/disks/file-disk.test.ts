/** The file disk over a fake file, compared with a byte array and with injected errors, and over real files. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { InvariantError } from '../../../src/base/assert.ts';
import { Prng } from '../../../src/base/prng.ts';
import { BioFlag, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { FileDisk } from '../../../src/block/disks/file-disk.ts';
import { openFile } from '../../../src/block/disks/file-io.ts';
import { queuedDisk } from '../../../src/block/queued-disk.ts';
import { systemPunchHole } from '../../../src/os/linux/fallocate.ts';
import { Sender, stamp } from '../../support/fixtures/bio-sender.ts';
import { randomTest } from '../../support/fixtures/replay.ts';
import { DiskModel, randomData, randomRange } from '../../support/models/disk-model.ts';
import { FakeFile } from './fake-file.ts';

const PAGE = 4096;
const PAGES = 48;
const SIZE = PAGES * PAGE;

interface Open {
  readonly disk: FileDisk;
  readonly file: FakeFile;
  readonly sender: Sender;
}

function open(isDirect: boolean, prng: Prng = new Prng(1), sizeBytes: number = SIZE): Open {
  const file = new FakeFile(sizeBytes, prng, isDirect);
  const disk = new FileDisk(file, { sizeBytes, readOnly: false, isDirect, biosPerTick: 4 });
  return { disk, file, sender: new Sender(disk) };
}

for (const isDirect of [false, true])
  randomTest(`a file disk matches a byte array, direct ${isDirect}`, 400, (prng, steps) => {
    const { disk, file, sender } = open(isDirect, prng);
    const model = new DiskModel(SIZE);
    const queue = queuedDisk(disk, { requests: 4, depth: 2, mergeBytes: 8 * PAGE });
    const through = prng.oneIn(2) ? new Sender(queue) : sender;
    for (let i = 0; i < steps; i++) {
      const { offset, length } = randomRange(prng, SIZE);
      file.canPunch = prng.oneIn(2);
      const what = prng.below(8);
      if (what < 3) {
        const data = randomData(prng, length);
        assert.equal(through.run({ op: BioOp.write, offset, data }).status, BioStatus.ok);
        model.write(offset, data);
      } else if (what < 6) {
        const data = new Uint8Array(length + 20).fill(0x77);
        const bio = through.run({ op: BioOp.read, offset, length, data, at: 9 });
        assert.equal(bio.status, BioStatus.ok);
        assert.deepEqual(
          data.subarray(9, 9 + length),
          model.bytes.subarray(offset, offset + length),
        );
        assert.ok(
          data.subarray(0, 9).every((b) => b === 0x77),
          'before the data',
        );
        assert.ok(
          data.subarray(9 + length).every((b) => b === 0x77),
          'behind the data',
        );
      } else if (what === 6) {
        const { status } = through.run({ op: BioOp.discard, offset, length });
        const isWhole = Math.ceil(offset / PAGE) < Math.floor((offset + length) / PAGE);
        assert.equal(status, file.canPunch || !isWhole ? BioStatus.ok : BioStatus.notSupported);
        if (file.canPunch) model.discard(offset, length);
      } else {
        const flags = prng.oneIn(2) ? BioFlag.noUnmap : 0;
        const holes = disk.counters.get('holeBytes');
        const { status } = through.run({ op: BioOp.writeZeroes, offset, length, flags });
        assert.equal(status, BioStatus.ok);
        if (flags !== 0)
          assert.equal(disk.counters.get('holeBytes'), holes, 'noUnmap punches no hole');
        model.writeZeroes(offset, length, flags !== 0);
      }
      assert.equal(Buffer.compare(file.bytes, model.bytes), 0, 'the content of the file');
    }
    assert.deepEqual(disk.counters.violated(), []);
  });

for (const isDirect of [false, true])
  test(`a transfer longer than the staging is complete, direct ${isDirect}`, () => {
    const { disk, file, sender } = open(isDirect, new Prng(2), 4 << 20);
    const data = new Uint8Array((3 << 20) + 5000);
    new Prng(3).fill(data);
    sender.run({ op: BioOp.write, offset: 4000, data });
    assert.equal(Buffer.compare(file.bytes.subarray(4000, 4000 + data.length), data), 0);
    const back = new Uint8Array(data.length);
    sender.run({ op: BioOp.read, offset: 4000, data: back });
    assert.equal(Buffer.compare(back, data), 0);
    sender.run({ op: BioOp.writeZeroes, offset: 5000, length: 3 << 20, flags: BioFlag.noUnmap });
    assert.ok(file.bytes.subarray(5000, 5000 + (3 << 20)).every((b) => b === 0));
    assert.equal(file.bytes[4999], data[999]);
    assert.equal(disk.counters.get('ioErrors'), 0);
  });

for (const isDirect of [false, true])
  test(`a read past the end of a truncated file is an error, not zeros, direct ${isDirect}`, () => {
    const { disk, file, sender } = open(isDirect);
    const status = (op: BioOp, offset: number, length: number): BioStatus =>
      sender.run({ op, offset, data: stamp(length, 3) }).status;
    file.sizeBytes = 3 * PAGE;
    assert.equal(status(BioOp.read, 0, 3 * PAGE), BioStatus.ok);
    assert.equal(disk.counters.get('shortReads'), 0);
    assert.equal(status(BioOp.read, 2 * PAGE, PAGE + 1), BioStatus.ioError);
    assert.equal(status(BioOp.read, 7 * PAGE, PAGE), BioStatus.ioError);
    assert.deepEqual([disk.counters.get('shortReads'), disk.counters.get('ioErrors')], [2, 2]);
    // A full page written there can be read again; a partial write fails, because the rest of its page is lost.
    assert.equal(status(BioOp.write, 3 * PAGE, PAGE), BioStatus.ok);
    assert.equal(status(BioOp.read, 3 * PAGE, PAGE), BioStatus.ok);
    if (isDirect) assert.equal(status(BioOp.write, 5 * PAGE + 7, 9), BioStatus.ioError);
  });

test('submit() does no I/O; a tick performs at most biosPerTick bios, in order', () => {
  const { disk, file, sender } = open(false);
  const sent = [0, 1, 2, 3, 4, 5].map((page) =>
    sender.submit({ op: BioOp.write, offset: page * PAGE, data: stamp(PAGE, page) }),
  );
  assert.equal(file.calls, 0);
  assert.equal(disk.tick(), 4);
  assert.equal(disk.queued, 2);
  assert.equal(disk.tick(), 2);
  assert.equal(disk.tick(), 0);
  assert.deepEqual(sender.ended, sent);
});

test('a tick starts no bio after bytesPerTick; written zeros count, holes do not', () => {
  const file = new FakeFile(SIZE, new Prng(1), false);
  const disk = new FileDisk(file, {
    sizeBytes: SIZE,
    readOnly: false,
    isDirect: false,
    biosPerTick: 8,
    bytesPerTick: 3 * PAGE,
  });
  const sender = new Sender(disk);
  const ticks = (): number[] => {
    const ended: number[] = [];
    while (disk.queued > 0) ended.push(disk.tick());
    return ended;
  };
  for (let page = 0; page < 8; page++)
    sender.submit({ op: BioOp.write, offset: page * PAGE, data: stamp(PAGE, 1) });
  assert.deepEqual(ticks(), [3, 3, 2]);
  for (let i = 0; i < 3; i++)
    sender.submit({ op: BioOp.writeZeroes, length: 4 * PAGE, flags: BioFlag.noUnmap });
  sender.submit({ op: BioOp.read, data: new Uint8Array(PAGE) });
  assert.deepEqual(ticks(), [1, 1, 1, 1]);
  for (let i = 0; i < 10; i++) sender.submit({ op: BioOp.discard, length: 4 * PAGE });
  assert.deepEqual(ticks(), [8, 2]);
});

test('each system error has a status and a counter', () => {
  const { disk, file, sender } = open(false);
  const status = (op: BioOp, flags = 0): BioStatus =>
    sender.run({ op, data: stamp(PAGE, 1), flags }).status;
  for (const code of ['ENOSPC', 'EDQUOT', 'EFBIG']) {
    file.failing.set('write', code);
    assert.equal(status(BioOp.write), BioStatus.noSpace, code);
  }
  file.failing.set('write', 'EIO');
  assert.equal(status(BioOp.write), BioStatus.ioError);
  file.failing.delete('write');
  file.failing.set('sync', 'EIO');
  assert.equal(status(BioOp.flush), BioStatus.ioError, 'a failed flush ends with ioError');
  assert.equal(status(BioOp.write, BioFlag.fua), BioStatus.ioError);
  assert.equal(status(BioOp.write), BioStatus.ok);
  file.failing.clear();
  assert.equal(status(BioOp.flush), BioStatus.ok);
  assert.equal(status(BioOp.write, BioFlag.fua), BioStatus.ok);
  assert.equal(status(BioOp.read, BioFlag.fua), BioStatus.ok);
  assert.equal(file.syncs, 2);
  assert.equal(
    sender.run({ op: BioOp.read, offset: SIZE, data: stamp(1, 0) }).status,
    BioStatus.invalid,
  );
  const { noSpace, ioErrors, invalid, syncs } = disk.counters.snapshot();
  assert.deepEqual([noSpace, ioErrors, invalid, syncs], [3, 3, 1, 2]);
});

test('a closed disk fails further bios; the file is closed once', () => {
  const { disk, file, sender } = open(false);
  const waiting = sender.submit({ op: BioOp.flush });
  disk[Symbol.dispose]();
  disk[Symbol.dispose]();
  sender.drain();
  assert.equal(waiting.status, BioStatus.ioError);
  assert.equal(file.closes, 1);
});

test('a read-only file refuses changes', () => {
  const file = new FakeFile(SIZE, new Prng(1), false);
  const disk = new FileDisk(file, {
    sizeBytes: SIZE,
    readOnly: true,
    isDirect: false,
    biosPerTick: 1,
  });
  const sender = new Sender(disk);
  for (const op of [BioOp.write, BioOp.discard, BioOp.writeZeroes])
    assert.equal(sender.run({ op, data: stamp(PAGE, 1) }).status, BioStatus.readOnly);
  assert.equal(file.calls, 0);
  assert.equal(sender.run({ op: BioOp.read, data: stamp(PAGE, 1) }).status, BioStatus.ok);
  for (const sizeBytes of [0, 100, PAGE + 1])
    assert.throws(
      () => new FileDisk(file, { sizeBytes, readOnly: true, isDirect: false, biosPerTick: 1 }),
      InvariantError,
    );
});

const punchHole = systemPunchHole(process.platform);

for (const direct of [false, true])
  test(`a real file, direct ${direct}: written data can be read, discarded blocks are freed`, (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'file-disk-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'disk');
    writeFileSync(path, '');
    truncateSync(path, 4 << 20);
    const { io, sizeBytes, isDirect } = openFile(path, { readOnly: false, direct, punchHole });
    if (!direct) assert.ok(!isDirect);
    else t.diagnostic(`O_DIRECT: ${isDirect}`);
    using disk = new FileDisk(io, { sizeBytes, readOnly: false, isDirect, biosPerTick: 8 });
    const sender = new Sender(disk);
    const data = new Uint8Array(2 << 20);
    new Prng(5).fill(data);
    assert.equal(sender.run({ op: BioOp.write, offset: 1000, data }).status, BioStatus.ok);
    assert.equal(sender.run({ op: BioOp.flush }).status, BioStatus.ok);
    assert.equal(Buffer.compare(readFileSync(path).subarray(1000, 1000 + data.length), data), 0);
    const back = new Uint8Array(70_000);
    sender.run({ op: BioOp.read, offset: 3000, data: back });
    assert.equal(Buffer.compare(back, data.subarray(2000, 72_000)), 0);
    if (punchHole === null) return t.diagnostic('no hole puncher here');
    const before = statSync(path).blocks;
    const { status } = sender.run({ op: BioOp.discard, offset: 0, length: 1 << 20 });
    if (status === BioStatus.notSupported) return t.diagnostic('no holes in this file system');
    assert.equal(status, BioStatus.ok);
    assert.ok(statSync(path).blocks <= before - (1 << 20) / 512 + 16, 'the blocks are freed');
    assert.ok(
      readFileSync(path)
        .subarray(0, 1 << 20)
        .every((b) => b === 0),
    );
    assert.equal(statSync(path).size, 4 << 20, 'the file keeps its size');
  });

test('opening a missing file throws ENOENT', () => {
  const options = { readOnly: true, direct: true, punchHole: null };
  assert.throws(() => openFile('/does/not/exist', options), { code: 'ENOENT' });
  assert.equal(systemPunchHole('darwin'), null);
});
