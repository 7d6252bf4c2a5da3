/** Bios that fail after their reply was written: the reply is corrected, and others stay intact. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Bio, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Counter, SessionEnd } from '../../../src/nbd/protocol/state.ts';
import { Chunk, Command, CommandFlag, WireError } from '../../../src/nbd/protocol/wire.ts';
import { join, messages, request } from '../../support/fixtures/nbd-client.ts';
import { type Harness, transmitting } from '../../support/fixtures/nbd-harness.ts';
import { FaultDisk } from './fault-disk.ts';

const MIB = 1024 * 1024;
const PAGE = 4096;

const touches = (bio: Bio, at: number): boolean => bio.offset <= at && at < bio.offset + bio.length;

/** A filled disk whose reads of the byte at `badAt` fail. */
function badDisk(badAt: number, op: BioOp = BioOp.read, limits = {}): FaultDisk {
  const memory = new MemoryDisk(MIB);
  const disk = new FaultDisk(memory, limits);
  const harness = transmitting(disk);
  const data = Uint8Array.from({ length: MIB }, (_, i) => (i >> 12) + 1);
  harness.feed(request({ type: Command.write, data }));
  disk.seen.length = 0;
  disk.fault = (bio) => (bio.op === op && touches(bio, badAt) ? BioStatus.ioError : undefined);
  return disk;
}

const pageReads = (count: number): Uint8Array =>
  join(
    ...Array.from({ length: count }, (_, i) =>
      request({ type: Command.read, cookie: i, offset: i * PAGE, length: PAGE }),
    ),
  );

test('a failed read is answered with an error without data, and other replies stay intact', () => {
  const harness = transmitting(badDisk(3 * PAGE));
  const bytes = harness.feed(pageReads(8));
  const said = messages(bytes, (cookie) => (cookie === 3n ? 0 : PAGE));
  assert.deepEqual(
    said.map((m) => m.error),
    [0, 0, 0, WireError.io, 0, 0, 0, 0],
  );
  for (const m of said)
    assert.ok(
      m.payload.every((byte) => byte === Number(m.cookie) + 1),
      `data of ${m.cookie}`,
    );
  assert.equal(harness.counters[Counter.failures], 1);
});

test('a failed structured read is answered with an error chunk with its offset', () => {
  const harness = transmitting(badDisk(3 * PAGE), { structured: true });
  const said = messages(harness.feed(pageReads(8)));
  assert.deepEqual(
    said.map((m) => [m.type, m.error, m.done]),
    said.map((_, i) =>
      i === 3 ? [Chunk.errorOffset, WireError.io, true] : [Chunk.offsetData, 0, true],
    ),
  );
  assert.equal(said[3]?.payload.readBigUInt64BE(6), BigInt(3 * PAGE));
  assert.equal(said[3]?.payload.readUInt16BE(4), 0);
  for (const m of said.filter((found) => found.error === 0)) {
    assert.equal(m.payload.readBigUInt64BE(0), m.cookie * BigInt(PAGE));
    assert.ok(m.payload.subarray(8).every((byte) => byte === Number(m.cookie) + 1));
  }
});

test('a failed chunk too short for an offset becomes an error chunk without one', () => {
  for (const length of [1, 5, 6, 7]) {
    const harness = transmitting(badDisk(100), { structured: true });
    const reads = [100, 200].map((offset) => request({ type: Command.read, offset, length }));
    const said = messages(harness.feed(join(...reads)));
    assert.deepEqual(
      said.map((m) => [m.type, m.error]),
      [
        [length < 6 ? Chunk.error : Chunk.errorOffset, WireError.io],
        [Chunk.offsetData, 0],
      ],
    );
  }
});

test('a long structured read loses only the failed chunk', () => {
  const harness = transmitting(badDisk(500_000), { structured: true });
  const said = messages(harness.feed(request({ type: Command.read, length: MIB })));
  const failed = said.filter((m) => m.error !== 0);
  assert.equal(failed.length, 1);
  assert.equal(failed[0]?.type, Chunk.errorOffset);
  assert.deepEqual(
    said.map((m) => m.done),
    said.map((_, i) => i === said.length - 1),
  );
  let covered = 0;
  for (const m of said.filter((found) => found.error === 0)) {
    const from = Number(m.payload.readBigUInt64BE(0));
    assert.ok(m.payload.subarray(8).every((byte, i) => byte === (((from + i) >> 12) + 1) % 256));
    covered += m.payload.length - 8;
  }
  assert.ok(covered >= MIB - 262_144 && covered < MIB);
});

test('a long simple read that fails is an error before its header is sent, and a disconnect later', () => {
  const early = transmitting(badDisk(PAGE, BioOp.read, { maxTransferBytes: 65_536 }), {
    outputBytes: 200_000,
  });
  const ping = request({ type: Command.flush });
  const long = request({ type: Command.read, length: MIB });
  const said = messages(early.feed(join(ping, long, ping)));
  assert.deepEqual(
    said.map((m) => m.error),
    [0, WireError.io, 0],
  );
  assert.equal(early.session.end, SessionEnd.none);

  const late = transmitting(badDisk(700_000), { outputBytes: 200_000 });
  const bytes = late.feed(join(ping, long, ping));
  assert.equal(late.session.end, SessionEnd.readFailed);
  const sent = bytes.length - 16 - 16;
  assert.ok(sent > 100_000 && sent <= 700_000, 'only bytes that were read are sent');
  const data = bytes.subarray(32);
  assert.ok(data.every((byte, i) => byte === ((i >> 12) + 1) % 256));
});

test('a write that fails in any piece gets one error, and the next request is parsed correctly', () => {
  for (const badAt of [0, 100_000, MIB - 1])
    for (const structured of [false, true]) {
      const disk = badDisk(badAt, BioOp.write);
      const harness = transmitting(disk, { structured });
      const bytes = join(
        request({ type: Command.write, data: new Uint8Array(MIB), cookie: 1 }),
        request({ type: Command.flush, cookie: 2 }),
      );
      const said = messages(harness.feedInPieces(bytes, [30_000]));
      assert.deepEqual(
        said.map((m) => [Number(m.cookie), m.error]),
        [
          [1, WireError.io],
          [2, 0],
        ],
      );
    }
});

test('each bio status maps to a wire error, ENOTSUP only where it is allowed', () => {
  const disk = new FaultDisk(new MemoryDisk(MIB));
  const { writeZeroes, trim, write } = Command;
  const errorOf = (harness: Harness, type: number, flags = 0): number | undefined => {
    const data = type === write ? new Uint8Array(10) : new Uint8Array(0);
    const length = 10;
    return messages(harness.feed(request({ type, flags, data, length })))[0]?.error;
  };
  const cases: [BioStatus, number][] = [
    [BioStatus.ioError, WireError.io],
    [BioStatus.noSpace, WireError.noSpace],
    [BioStatus.invalid, WireError.inval],
    [BioStatus.readOnly, WireError.perm],
    [BioStatus.notSupported, WireError.inval],
  ];
  const harness = transmitting(disk);
  for (const [status, error] of cases) {
    disk.fault = () => status;
    for (const type of [write, trim, writeZeroes]) assert.equal(errorOf(harness, type), error);
  }
  assert.equal(errorOf(harness, writeZeroes, CommandFlag.fastZero), WireError.notSup);
});

test('a trim in pieces returns the first error', () => {
  const GIB = 1024 * MIB;
  const disk = new FaultDisk(new MemoryDisk(GIB));
  const harness = transmitting(disk);
  const errorFor = (...statuses: [number, BioStatus][]): number | undefined => {
    disk.fault = (bio) => statuses.find(([at]) => touches(bio, at))?.[1];
    return messages(harness.feed(request({ type: Command.trim, length: GIB })))[0]?.error;
  };
  assert.equal(errorFor([0, BioStatus.ioError], [GIB - 1, BioStatus.noSpace]), WireError.io);
  const middle: [number, BioStatus] = [GIB / 2, BioStatus.noSpace];
  assert.equal(errorFor([0, BioStatus.ioError], middle), WireError.io);
  assert.equal(errorFor(middle), WireError.noSpace);
  assert.equal(errorFor(), 0);
});
