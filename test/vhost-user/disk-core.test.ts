/** The block device against its naive model: the same queue in two memories must leave the same disk, data, statuses and used ring. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { Bio, BioOp } from '../../src/block/bio.ts';
import { MemoryDisk } from '../../src/block/disks/memory-disk.ts';
import type { DeviceCore } from '../../src/vhost-user/core.ts';
import { DiskCore } from '../../src/vhost-user/disk-core.ts';
import { SimpleBlockDevice } from '../support/models/simple-block-device.ts';

const DISK_BYTES = 2 ** 18;
const MEMORY_BYTES = 2 ** 20;
/** Two pieces of memory that are adjacent for the guest only. */
const PIECE = 2 ** 19;
const GUEST = 0x1000_0000;
const USER = 0x2000_0000;
const SIZE = 64;
const [AVAIL, USED, INDIRECT, HEADERS, DATA] = [0x1000, 0x2000, 0x4000, 0x1_0000, 0x2_0000];

class Side {
  readonly pieces: readonly Uint8Array[];
  readonly device: DeviceCore;
  /** @param pieceBytes PIECE, or MEMORY_BYTES for the model, which knows one piece */
  constructor(device: DeviceCore, pieceBytes = PIECE) {
    this.device = device;
    const count = MEMORY_BYTES / pieceBytes;
    this.pieces = Array.from({ length: count }, () => new Uint8Array(pieceBytes));
    device.setMemory(
      this.pieces.map((view, i) => ({
        ...{ guestAddress: GUEST + i * pieceBytes, userAddress: USER + i * pieceBytes },
        ...{ bytes: pieceBytes, view },
      })),
    );
    device.start({
      ...{ index: 0, size: SIZE, base: 0 },
      desc: USER,
      avail: USER + AVAIL,
      used: USER + USED,
    });
  }
  put(at: number, bytes: Uint8Array): void {
    for (const [i, byte] of bytes.entries()) {
      const { length } = this.pieces[0]!;
      this.pieces[Math.floor((at + i) / length)]![(at + i) % length] = byte;
    }
  }
  serve(): void {
    this.device.kicked(0);
    for (let left = 100; this.device.serve(); left--) assert(left > 0);
  }
}

const numbers = (
  ...fields: readonly (readonly [bytes: 2 | 4 | 8, value: number])[]
): Uint8Array => {
  const out = new DataView(new ArrayBuffer(fields.reduce((sum, [bytes]) => sum + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of fields) {
    if (bytes === 2) out.setUint16(at, value, true);
    else if (bytes === 4) out.setUint32(at, value, true);
    else out.setBigUint64(at, BigInt(value), true);
    at += bytes;
  }
  return new Uint8Array(out.buffer);
};

interface Segment {
  readonly at: number;
  readonly bytes: number;
  readonly isWritable: boolean;
}

/** Puts a chain in both memories, directly or by a table. */
function putChain(
  put: (at: number, bytes: Uint8Array) => void,
  head: number,
  segments: readonly Segment[],
  isIndirect: boolean,
): void {
  const base = isIndirect ? INDIRECT + head * 256 : 0;
  for (const [i, { at, bytes, isWritable }] of segments.entries()) {
    const isLast = i === segments.length - 1;
    const index = isIndirect ? i : head + i;
    const flags = (isLast ? 0 : 1) | (isWritable ? 2 : 0);
    put(
      base + index * 16,
      numbers([8, GUEST + at], [4, bytes], [2, flags], [2, isLast ? 0 : index + 1]),
    );
  }
  if (isIndirect)
    put(head * 16, numbers([8, GUEST + base], [4, segments.length * 16], [2, 4], [2, 0]));
}

function play(seed: number, canIndirect: boolean): void {
  const prng = new Prng(seed);
  const disk = new MemoryDisk(DISK_BYTES);
  const model = new SimpleBlockDevice(new Uint8Array(DISK_BYTES));
  const sides = [
    new Side(new DiskCore({ disk, serial: '', onIdle: () => undefined })),
    new Side(model, MEMORY_BYTES),
  ];
  const put = (at: number, bytes: Uint8Array): void => {
    for (const side of sides) side.put(at, bytes);
  };
  let index = 0;
  let used = 0;
  for (let round = 0; round < 60; round++) {
    for (let chain = 0; chain < 1 + prng.below(7); chain++) {
      const head = chain * 8;
      const type = [0, 1, 4, 11, 13][prng.below(5)]!;
      const sector = prng.below(DISK_BYTES / 512);
      const header = HEADERS + chain * 32;
      put(header, numbers([4, type], [4, 0], [8, sector]));
      put(header + 16, new Uint8Array([0xff]));
      const segments: Segment[] = [{ at: header, bytes: 16, isWritable: false }];
      const count = type === 4 ? 0 : type > 4 ? 1 : 1 + prng.below(5);
      for (let i = 0; i < count; i++) {
        // Sometimes across the border between the two pieces.
        const at = prng.oneIn(6) ? PIECE - 700 : DATA + prng.below(MEMORY_BYTES - DATA - 8192);
        if (type > 4) {
          // A discard leaves parts of pages unchanged; the model does not know that.
          const unit = type === 11 ? 8 : 1;
          const from = prng.below(DISK_BYTES / 512 / unit) * unit;
          const sectors = prng.below(Math.min(40, DISK_BYTES / 512 - from) / unit) * unit;
          const range = HEADERS + 0x8000 + chain * 16; // no data is read to it
          put(range, numbers([8, from], [4, sectors], [4, 0]));
          segments.push({ at: range, bytes: 16, isWritable: false });
        } else {
          const data = new Uint8Array(512 * (1 + prng.below(5)));
          prng.fill(data);
          if (type === 1) put(at, data);
          segments.push({ at, bytes: data.length, isWritable: type === 0 });
        }
      }
      const isPast =
        sector * 512 + segments.slice(1).reduce((sum, { bytes }) => sum + bytes, 0) > DISK_BYTES;
      if (type < 4 && isPast) continue; // the model writes what fits
      segments.push({ at: header + 16, bytes: 1, isWritable: true });
      putChain(put, head, segments, canIndirect && prng.oneIn(2));
      put(AVAIL + 4 + (index % SIZE) * 2, numbers([2, head]));
      index = (index + 1) & 0xffff;
    }
    put(AVAIL + 2, numbers([2, index]));
    for (const side of sides) side.serve();
    const [real, naive] = sides.map(({ pieces }) => Buffer.concat(pieces));
    assert.deepEqual(takeUsed(real!, used, index), takeUsed(naive!, used, index), `seed ${seed}`);
    used = index;
    assert(real!.equals(naive!), `seed ${seed}, round ${round}`);
    assert.equal(sides[1]!.device.takeFault(), null);
    assert.equal(sides[0]!.device.takeFault(), null);
    assert.equal(sides[0]!.device.inFlight, 0);
  }
  assert.deepEqual(contents(disk), model.disk, `seed ${seed}`);
}

/** The new entries of the used ring in order of their heads, as requests may end in any order. Clears the ring. */
function takeUsed(memory: Buffer, from: number, to: number): string[] {
  assert.equal(memory.readUInt16LE(USED + 2), to);
  const entries: string[] = [];
  for (let i = from; i !== to; i = (i + 1) & 0xffff) {
    const at = USED + 4 + (i % SIZE) * 8;
    entries.push(`${memory.readUInt32LE(at)} ${memory.readUInt32LE(at + 4)}`);
  }
  memory.fill(0, USED, USED + 4 + SIZE * 8);
  return entries.sort();
}

function contents(disk: MemoryDisk): Uint8Array {
  const bio = new Bio();
  bio.op = BioOp.read;
  bio.length = DISK_BYTES;
  bio.data = new Uint8Array(DISK_BYTES);
  bio.owner = { bioEnd: () => undefined };
  disk.submit(bio);
  disk.tick();
  return bio.data;
}

test('random requests, direct and by tables, do what they do in the naive model', () => {
  for (let seed = 1; seed <= 40; seed++) play(seed, false);
});

test('a chain is the same in a table', () => {
  // The model has no tables: the same requests are direct there.
  const disk = new MemoryDisk(DISK_BYTES);
  const side = new Side(new DiskCore({ disk, serial: '', onIdle: () => undefined }));
  const data = new Uint8Array(1024).fill(5);
  side.put(HEADERS, numbers([4, 1], [4, 0], [8, 2]));
  side.put(DATA, data);
  const segments = [
    { at: HEADERS, bytes: 16, isWritable: false },
    { at: DATA, bytes: 512, isWritable: false },
    { at: DATA + 512, bytes: 512, isWritable: false },
    { at: HEADERS + 16, bytes: 1, isWritable: true },
  ];
  putChain((at, bytes) => side.put(at, bytes), 3, segments, true);
  side.put(AVAIL + 2, numbers([2, 1], [2, 3]));
  side.serve();
  assert.equal(side.pieces[0]![HEADERS + 16], 0);
  assert.deepEqual(contents(disk).slice(1024, 2048), data);
});

const chainOf = (side: Side, segments: Segment[]): string => {
  putChain((at, bytes) => side.put(at, bytes), 0, segments, false);
  side.put(AVAIL + 2, numbers([2, 1], [2, 0]));
  side.serve();
  return side.device.takeFault() ?? '';
};
const fresh = (): Side =>
  new Side(new DiskCore({ disk: new MemoryDisk(DISK_BYTES), serial: '', onIdle: () => undefined }));

test('a chain that is not a request stops its queue', () => {
  const header = { at: HEADERS, bytes: 16, isWritable: false };
  const status = { at: HEADERS + 16, bytes: 1, isWritable: true };
  assert.equal(chainOf(fresh(), [header, status]), '');
  assert.match(chainOf(fresh(), [header]), /no header or no status/);
  assert.match(chainOf(fresh(), [{ ...header, bytes: 15 }, status]), /no header/);
  assert.match(chainOf(fresh(), [header, { ...status, isWritable: false }]), /no header/);
  const end = MEMORY_BYTES - 512;
  assert.equal(chainOf(fresh(), [header, { at: end, bytes: 512, isWritable: false }, status]), '');
  assert.match(
    chainOf(fresh(), [header, { at: end, bytes: 513, isWritable: false }, status]),
    /outside the memory/,
  );
});

test('a loop of descriptors and too many available entries stop the queue', () => {
  const loop = fresh();
  loop.put(0, numbers([8, GUEST + HEADERS], [4, 16], [2, 1], [2, 0]));
  loop.put(AVAIL + 2, numbers([2, 1], [2, 0]));
  loop.serve();
  assert.match(loop.device.takeFault() ?? '', /no valid end/);
  for (const [ready, fault] of [
    [SIZE, ''],
    [SIZE + 1, 'available'],
  ] as const) {
    const side = fresh();
    const segments = [
      { at: HEADERS, bytes: 16, isWritable: false },
      { at: HEADERS + 16, bytes: 1, isWritable: true },
    ];
    side.put(HEADERS, numbers([4, 4]));
    putChain((at, bytes) => side.put(at, bytes), 0, segments, false);
    side.put(AVAIL + 2, numbers([2, ready]));
    side.serve();
    assert(
      fault === '' ? side.device.takeFault() === null : side.device.takeFault()?.includes(fault),
    );
  }
});

test('a table has as many descriptors as the queue, and not one more', () => {
  for (const [count, fault] of [
    [SIZE, null],
    [SIZE + 1, /no valid end/],
  ] as const) {
    const side = fresh();
    side.put(HEADERS, numbers([4, 0], [4, 0], [8, 0]));
    const data = Array.from({ length: count - 2 }, (_, i) => ({
      ...{ at: DATA + i * 512, bytes: 512, isWritable: true },
    }));
    const segments = [
      { at: HEADERS, bytes: 16, isWritable: false },
      ...data,
      { at: HEADERS + 16, bytes: 1, isWritable: true },
    ];
    putChain((at, bytes) => side.put(at, bytes), 0, segments, true);
    side.put(AVAIL + 2, numbers([2, 1], [2, 0]));
    side.serve();
    if (fault === null) assert.equal(side.device.takeFault(), null);
    else assert.match(side.device.takeFault() ?? '', fault);
  }
});
