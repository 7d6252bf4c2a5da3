import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BioFlag, BioOp } from '../../../src/block/bio.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import type { Disk } from '../../../src/block/ops.ts';
import { Counter, SessionEnd, SessionStop } from '../../../src/nbd/protocol/state.ts';
import { Chunk, Command, CommandFlag, WireError } from '../../../src/nbd/protocol/wire.ts';
import {
  join,
  type Message,
  messages,
  type RequestFields,
  request,
} from '../../support/fixtures/nbd-client.ts';
import { type Harness, slowed, transmitting } from '../../support/fixtures/nbd-harness.ts';
import { FaultDisk } from './fault-disk.ts';

const MIB = 1024 * 1024;
const PAGE = 4096;

/** Sends one request. Returns its reply messages. */
function ask(harness: Harness, fields: RequestFields): Message[] {
  const length = fields.type === Command.read ? (fields.length ?? 0) : 0;
  return messages(harness.feed(request(fields)), () => length);
}
const errorOf = (harness: Harness, fields: RequestFields): number | undefined =>
  ask(harness, fields)[0]?.error;

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

for (const structured of [false, true]) {
  const how = structured ? 'structured' : 'simple';

  test(`${how}: written data is read back at any alignment`, () => {
    const harness = transmitting(new MemoryDisk(MIB), { structured });
    for (const [offset, length] of [
      [0, PAGE],
      [1, 1],
      [4095, 2],
      [10_000, 70_001],
      [MIB - 1, 1],
    ] as const) {
      const data = Uint8Array.from({ length }, (_, i) => i * 7 + offset);
      const cookie = 0xfedc_ba98_7654_3210n;
      const written = ask(harness, { type: Command.write, offset, data, cookie });
      assert.deepEqual(
        written.map((m) => [m.kind, m.error, m.cookie]),
        [['simple', 0, cookie]],
      );
      const read = ask(harness, { type: Command.read, offset, length, cookie });
      const got = Buffer.concat(
        read.map((m) => (m.kind === 'chunk' ? m.payload.subarray(8) : m.payload)),
      );
      assert.deepEqual(Uint8Array.from(got), data);
      assert.ok(read.every((m) => m.cookie === cookie && (m.kind === 'chunk') === structured));
      assert.equal(read.at(-1)?.done, true);
    }
  });

  test(`${how}: invalid requests get the errors of the protocol`, () => {
    const disk = new FaultDisk(new MemoryDisk(MIB));
    const harness = transmitting(disk, { structured });
    const { read, write, trim, cache, writeZeroes, blockStatus, flush } = Command;
    const data = filled(PAGE, 1);
    const inval = WireError.inval;
    const cases: [RequestFields, number][] = [
      [{ type: read, offset: MIB, length: 1 }, inval],
      [{ type: read, offset: MIB - 1, length: 2 }, inval],
      [{ type: read, offset: 2n ** 53n, length: 1 }, inval],
      [{ type: read, offset: 2n ** 64n - 1n, length: 1 }, inval],
      [{ type: read, length: 0 }, inval],
      [{ type: write, length: 0 }, inval],
      [{ type: trim, length: 0 }, inval],
      [{ type: write, offset: MIB - 4095, data }, WireError.noSpace],
      [{ type: write, offset: 2n ** 63n, data }, WireError.noSpace],
      [{ type: writeZeroes, offset: MIB, length: 1 }, WireError.noSpace],
      [{ type: trim, offset: MIB, length: 1 }, inval],
      [{ type: cache, offset: MIB, length: 1 }, inval],
      [{ type: blockStatus, offset: MIB, length: 1 }, inval],
      [{ type: flush, offset: 1 }, inval],
      [{ type: flush, length: 1 }, inval],
      [{ type: 8, length: 1 }, inval],
      [{ type: 0xffff, length: 1 }, inval],
      [{ type: write, data, flags: CommandFlag.noHole }, inval],
      [{ type: write, data, flags: CommandFlag.df }, inval],
      [{ type: write, data, flags: 0x8000 }, inval],
      [{ type: read, length: 1, flags: CommandFlag.reqOne }, inval],
      [{ type: read, length: 1, flags: 0x20 }, inval],
      [{ type: trim, length: 1, flags: CommandFlag.fastZero }, inval],
      [{ type: cache, length: 1, flags: 2 }, inval],
      [{ type: flush, flags: 2 }, inval],
      [{ type: read, length: 32 * MIB + 1 }, structured ? inval : inval],
    ];
    for (const [fields, error] of cases)
      assert.equal(
        errorOf(harness, fields),
        error,
        JSON.stringify({ ...fields, offset: `${fields.offset}`, data: 0 }),
      );
    assert.equal(disk.seen.length, 0, 'no bio reached the disk');
    assert.equal(harness.counters[Counter.refusals], cases.length);
    assert.equal(errorOf(harness, { type: read, length: 1 }), 0, 'the session continues');
  });

  test(`${how}: every command accepts FUA`, () => {
    const disk = new FaultDisk(new MemoryDisk(MIB));
    const harness = transmitting(disk, { structured });
    const flags = CommandFlag.fua;
    const { read, write, flush, trim, cache, writeZeroes } = Command;
    for (const type of [read, trim, cache, writeZeroes])
      assert.equal(errorOf(harness, { type, flags, length: PAGE }), 0);
    assert.equal(errorOf(harness, { type: write, flags, data: filled(1, 1) }), 0);
    assert.equal(errorOf(harness, { type: flush, flags }), 0);
    const writes = disk.seen.filter((bio) => bio.op !== BioOp.read);
    assert.ok(writes.length === 4 && writes.every((bio) => bio.flags === BioFlag.fua));
  });

  test(`${how}: a read-only export refuses only changes`, () => {
    const disk = new FaultDisk(new MemoryDisk(MIB, { readOnly: true }));
    const harness = transmitting(disk, { structured });
    const { perm } = WireError;
    assert.equal(errorOf(harness, { type: Command.write, data: filled(9000, 1) }), perm);
    assert.equal(errorOf(harness, { type: Command.trim, length: 1 }), perm);
    assert.equal(errorOf(harness, { type: Command.writeZeroes, length: 1 }), perm);
    assert.equal(disk.seen.length, 0, 'no bio reached the disk');
    assert.equal(errorOf(harness, { type: Command.read, length: 1 }), 0);
    assert.equal(errorOf(harness, { type: Command.flush }), 0);
  });

  test(`${how}: after shutdown a request in progress is completed, later ones are neither done nor answered`, () => {
    const disk = new FaultDisk(new MemoryDisk(MIB));
    const harness = transmitting(disk, { structured });
    const write = request({ type: Command.write, data: filled(2 * PAGE, 5) });
    harness.feed(write.subarray(0, 28 + PAGE));
    assert.equal(harness.session.isInsideRequest, true);
    harness.session.shutDown();
    const later = [
      request({ type: Command.write, data: filled(100, 1) }),
      request({ type: Command.read, length: 1 }),
    ];
    const said = messages(harness.feed(join(write.subarray(28 + PAGE), ...later)));
    assert.equal(said.map((m) => m.error).join(), '0');
    assert.equal(harness.session.end, SessionEnd.shutdown);
    assert.equal(disk.seen.map(({ offset }) => offset).join(), `0,${PAGE}`);
    assert.equal(harness.session.isInsideRequest, false);
  });

  test(`${how}: a long read is answered in bounded pieces, a long write is split at pages`, () => {
    const disk = new FaultDisk(new MemoryDisk(33 * MIB));
    const harness = transmitting(disk, { structured });
    const data = new Uint8Array(32 * MIB);
    for (let at = 0; at < data.length; at += 1000) data.fill(at >> 7, at, at + 1000);
    const said = harness.feedInPieces(
      request({ type: Command.write, offset: 100, data }),
      [65_000, 4096, 12],
    );
    assert.deepEqual(
      messages(said).map((m) => m.error),
      [0],
    );
    assert.ok(disk.seen.slice(1).every((bio) => bio.offset % PAGE === 0));
    const length = 32 * MIB;
    const read = ask(harness, { type: Command.read, offset: 100, length });
    const got = Buffer.concat(
      read.map((m) => (m.kind === 'chunk' ? m.payload.subarray(8) : m.payload)),
    );
    assert.ok(got.equals(data), 'the same 32 MiB');
    assert.equal(read.length > 1, structured);
    assert.equal(harness.counters[Counter.readBytes], length);
    assert.equal(harness.counters[Counter.writeBytes], length);
  });
}

test('trim and write-zeroes pass their flags on, in bounded aligned pieces', () => {
  const GIB = 1024 * MIB;
  const disk = new FaultDisk(new MemoryDisk(4 * GIB));
  const harness = transmitting(disk);
  const length = 4 * GIB - 8192;
  assert.equal(errorOf(harness, { type: Command.trim, offset: 4096, length }), 0);
  let at = 4096;
  for (const bio of disk.seen) {
    assert.deepEqual([bio.op, bio.offset, bio.flags], [BioOp.discard, at, 0]);
    assert.ok(bio.length <= 64 * MIB);
    at += bio.length;
    assert.ok(at % (64 * MIB) === 0 || at === 4096 + length);
  }
  assert.equal(at, 4096 + length);

  disk.seen.length = 0;
  const { noHole, fastZero } = CommandFlag;
  const type = Command.writeZeroes;
  assert.equal(errorOf(harness, { type, length: PAGE }), 0);
  assert.equal(errorOf(harness, { type, length: PAGE, flags: noHole }), 0);
  assert.equal(errorOf(harness, { type, length: PAGE, flags: fastZero }), 0);
  const refused = errorOf(harness, { type, length: PAGE, flags: fastZero | noHole });
  assert.equal(refused, WireError.notSup);
  assert.deepEqual(
    disk.seen.map((bio) => bio.flags),
    [0, BioFlag.noUnmap, 0],
  );
});

test('offsets above 2 and 4 GiB are exact', () => {
  const GIB = 1024 * MIB;
  for (const structured of [false, true]) {
    const disk = new FaultDisk(new MemoryDisk(9 * GIB));
    const harness = transmitting(disk, { structured });
    for (const offset of [2 * GIB, 3 * GIB, 4 * GIB, 8 * GIB + 5]) {
      ask(harness, { type: Command.write, offset, data: filled(10, 9) });
      assert.equal(disk.seen.at(-1)?.offset, offset);
      const [read] = ask(harness, { type: Command.read, offset, length: 10 });
      if (structured) assert.equal(read?.payload.readBigUInt64BE(0), BigInt(offset));
    }
  }
});

test('a batch of requests needs one tick of the disk', () => {
  const disk = new FaultDisk(new MemoryDisk(MIB));
  const harness = transmitting(disk);
  const one = request({ type: Command.write, data: filled(100, 1) });
  harness.feed(join(...Array.from({ length: 50 }, () => one)));
  assert.deepEqual([disk.seen.length, disk.tickCount], [50, 1]);
});

test('a batch has at most 512 requests, on an asynchronous disk 32', () => {
  const one = request({ type: Command.write, data: filled(1, 1) });
  const ticksFor = (count: number): number => {
    const disk = new FaultDisk(new MemoryDisk(MIB));
    const harness = transmitting(disk, { bioCount: 1024, grant: Infinity });
    const said = messages(harness.feed(join(...Array.from({ length: count }, () => one))));
    assert.equal(said.length, count);
    return disk.tickCount;
  };
  assert.deepEqual([ticksFor(512), ticksFor(513), ticksFor(1025)], [1, 2, 3]);

  const next = slowed(new MemoryDisk(MIB));
  let flying = 0;
  let most = 0;
  const counted: Disk = {
    ...next,
    submit(bio) {
      most = Math.max(most, ++flying);
      next.submit(bio);
    },
    tick() {
      const ended = next.tick();
      flying -= ended;
      return ended;
    },
  };
  const harness = transmitting(counted);
  assert.equal(messages(harness.feed(join(...Array.from({ length: 100 }, () => one)))).length, 100);
  assert.deepEqual([most, flying], [32, 0]);
});

for (const grant of [1, 65_536, 1_000_000])
  test(`a call stops after the step that uses up its grant of ${grant}`, () => {
    const { read, write, writeZeroes, trim, blockStatus } = Command;
    const disk = new MemoryDisk(64 * MIB);
    const harness = transmitting(disk, { structured: true, grant });
    const requests = [
      request({ type: write, data: filled(32 * MIB, 1) }),
      request({ type: read, length: 32 * MIB }),
      request({ type: read, length: 32 * MIB, offset: 20 * MIB + 1 }),
      request({ type: blockStatus, length: 64 * MIB }),
      request({ type: write, offset: 32 * MIB - 1, data: filled(32 * MIB, 1) }),
      request({ type: blockStatus, length: 64 * MIB }),
      request({ type: writeZeroes, length: 32 * MIB }),
      request({ type: writeZeroes, length: 32 * MIB, flags: CommandFlag.noHole }),
      request({ type: trim, length: 64 * MIB }),
      request({ type: trim, offset: 1, length: 64 * MIB - 1 }),
    ];
    for (const one of requests) {
      const said = messages(harness.feed(one));
      assert.deepEqual([said.at(-1)?.error, said.at(-1)?.done], [0, true]);
    }
    const small = Array.from({ length: 2000 }, () => request({ type: read, length: PAGE }));
    assert.equal(messages(harness.feed(join(...small))).length, 2000);
    assert.ok(harness.workMax > grant, 'the requests needed more than a grant');
    assert.ok(harness.workMax <= grant + 102_400, `${harness.workMax} of work in a call`);
  });

test('a request for a part of a page counts as much as one for the page', () => {
  const work = (type: number, offset: number, length: number): number => {
    const harness = transmitting(new MemoryDisk(MIB));
    const data = type === Command.write ? { data: filled(length, 1) } : { length };
    harness.feed(request({ type, offset, flags: 0, ...data }));
    return harness.workMax;
  };
  for (const type of [Command.read, Command.write])
    for (const [offset, length] of [
      [0, 1],
      [PAGE - 1, 1],
      [8, PAGE],
    ] as const)
      assert.ok(work(type, offset, length) > work(type, 0, PAGE), `${type}: ${length}@${offset}`);
});

test('a hole of 64 MiB is trimmed, zeroed or described in one step', () => {
  const disk = new FaultDisk(new MemoryDisk(256 * MIB));
  const harness = transmitting(disk, { structured: true, grant: 1 });
  for (const type of [Command.trim, Command.writeZeroes])
    assert.equal(errorOf(harness, { type, offset: 5 * MIB, length: 200 * MIB }), 0);
  const ends = disk.seen.map(({ offset, length }) => offset + length);
  assert.deepEqual(
    ends,
    [64, 128, 192, 205, 64, 128, 192, 205].map((mib) => mib * MIB),
  );
  const [status] = ask(harness, { type: Command.blockStatus, length: 200 * MIB });
  assert.equal(status?.payload.readUInt32BE(4), 64 * MIB);
});

test('requests are answered with few bios and a small output', () => {
  const harness = transmitting(new MemoryDisk(MIB), { bioCount: 1, structured: true });
  const reads = Array.from({ length: 100 }, (_, i) =>
    request({ type: Command.read, cookie: i, length: 60_000, offset: i }),
  );
  const said = messages(harness.feed(join(...reads)));
  assert.deepEqual(
    said.filter((m) => m.done).map((m) => Number(m.cookie)),
    Array.from({ length: 100 }, (_, i) => i),
  );
});

test('structured reads send long runs of zeros as holes, short ones as data', () => {
  const harness = transmitting(new MemoryDisk(MIB), { structured: true });
  const write = (page: number, count: number): void => {
    ask(harness, { type: Command.write, offset: page * PAGE, data: filled(count * PAGE, 1) });
  };
  const chunksOf = (page: number, count: number, flags = 0): [number, number][] =>
    ask(harness, {
      type: Command.read,
      offset: page * PAGE,
      length: count * PAGE,
      flags,
    }).map((m) => [
      m.type,
      (m.type === Chunk.offsetHole ? m.payload.readUInt32BE(8) : m.payload.length - 8) / PAGE,
    ]);
  const { offsetData, offsetHole } = Chunk;
  assert.deepEqual(chunksOf(0, 256), [[offsetHole, 256]]);
  assert.deepEqual(chunksOf(9, 1), [[offsetHole, 1]]);
  write(2, 1);
  write(4, 1);
  write(16, 2);
  assert.deepEqual(chunksOf(1, 4), [[offsetData, 4]]);
  assert.deepEqual(chunksOf(2, 16), [
    [offsetData, 3],
    [offsetHole, 11],
    [offsetData, 2],
  ]);
  assert.deepEqual(chunksOf(5, 14), [
    [offsetHole, 11],
    [offsetData, 3],
  ]);
  assert.deepEqual(chunksOf(2, 16, CommandFlag.df), [[offsetData, 16]]);
});

test('a run of zeros is a hole from 16384 bytes on', () => {
  const harness = transmitting(new MemoryDisk(MIB), { structured: true });
  ask(harness, { type: Command.write, data: filled(PAGE, 1) });
  ask(harness, { type: Command.write, offset: 5 * PAGE, data: filled(PAGE, 1) });
  const typesOf = (length: number): number[] =>
    ask(harness, { type: Command.read, length }).map((m) => m.type);
  const { offsetData, offsetHole } = Chunk;
  assert.deepEqual(typesOf(PAGE + 16_383), [offsetData]);
  assert.deepEqual(typesOf(PAGE + 16_384), [offsetData, offsetHole]);
  assert.deepEqual(typesOf(6 * PAGE), [offsetData, offsetHole, offsetData]);
});

test('a read with DF is one chunk up to 65536 bytes and refused above', () => {
  const harness = transmitting(new MemoryDisk(MIB), { structured: true });
  const flags = CommandFlag.df;
  // The output is partly full at the second request, which must wait, not split.
  const reads = [30_000, 65_536, 65_536].map((length) =>
    request({ type: Command.read, flags, length, cookie: length, offset: 3 }),
  );
  const said = messages(harness.feed(join(...reads)));
  assert.deepEqual(
    said.map((m) => [m.type, m.payload.length - 8, m.done]),
    [30_000, 65_536, 65_536].map((n) => [Chunk.offsetData, n, true]),
  );
  assert.equal(errorOf(harness, { type: Command.read, flags, length: 65_537 }), WireError.overflow);
  const simple = transmitting(new MemoryDisk(MIB));
  assert.equal(errorOf(simple, { type: Command.read, flags, length: 1 }), WireError.inval);
});

test('a structured read above the payload limit gets EOVERFLOW', () => {
  const harness = transmitting(new MemoryDisk(64 * MIB), { structured: true });
  const length = 32 * MIB + 1;
  assert.equal(errorOf(harness, { type: Command.read, length }), WireError.overflow);
});

test('BLOCK_STATUS joins equal runs, reports hole and zero, and stops after one with REQ_ONE', () => {
  const disk = new MemoryDisk(MIB);
  const harness = transmitting(disk, { structured: true });
  ask(harness, { type: Command.write, offset: PAGE, data: filled(3 * PAGE, 1) });
  const { writeZeroes } = Command;
  ask(harness, { type: writeZeroes, offset: 2 * PAGE, length: PAGE, flags: CommandFlag.noHole });
  const statusOf = (offset: number, length: number, flags = 0): [number, number][] => {
    const [message, ...rest] = ask(harness, { type: Command.blockStatus, offset, length, flags });
    assert.ok(message?.type === Chunk.blockStatus && message.done && rest.length === 0);
    const { payload } = message;
    assert.equal(payload.readUInt32BE(0), 1);
    return Array.from({ length: (payload.length - 4) / 8 }, (_, i) => [
      payload.readUInt32BE(4 + 8 * i),
      payload.readUInt32BE(8 + 8 * i),
    ]);
  };
  assert.deepEqual(statusOf(0, MIB), [
    [PAGE, 3],
    [PAGE, 0],
    [PAGE, 2],
    [PAGE, 0],
    [MIB - 4 * PAGE, 3],
  ]);
  assert.deepEqual(statusOf(PAGE + 5, 10), [[10, 0]]);
  assert.deepEqual(statusOf(0, MIB, CommandFlag.reqOne), [[PAGE, 3]]);
});

test('BLOCK_STATUS of a fragmented disk is truncated to the free output and can be continued', () => {
  const disk = new MemoryDisk(64 * MIB);
  const harness = transmitting(disk, { structured: true, grant: Infinity });
  const pages = 64 * 256;
  const writes: Uint8Array[] = [];
  for (let page = 0; page < pages; page += 2)
    writes.push(request({ type: Command.write, offset: page * PAGE, data: filled(1, 1) }));
  harness.feed(join(...writes));
  let at = 0;
  let count = 0;
  const counts: number[] = [];
  while (at < 64 * MIB) {
    const status = { type: Command.blockStatus, offset: at, length: 64 * MIB - at };
    const [message] = ask(harness, status);
    assert.equal(message?.error, 0);
    const { payload } = message;
    counts.push((payload.length - 4) / 8);
    for (let i = 4; i < payload.length; i += 8, count++) {
      assert.equal(payload.readUInt32BE(i + 4), count % 2 === 0 ? 0 : 3);
      at += payload.readUInt32BE(i);
    }
  }
  assert.deepEqual([at, count], [64 * MIB, pages]);
  assert.deepEqual(counts, [8192, 8192], 'at most 8192 descriptors');
});

test('BLOCK_STATUS describes 256 MiB at a time', () => {
  const harness = transmitting(new MemoryDisk(1024 * MIB), { structured: true });
  const described = (length: number): number | undefined =>
    ask(harness, { type: Command.blockStatus, length })[0]?.payload.readUInt32BE(4);
  assert.equal(described(256 * MIB), 256 * MIB);
  assert.equal(described(256 * MIB + 1), 256 * MIB);
  assert.equal(described(256 * MIB - 1), 256 * MIB - 1);
});

test('DISC ends the session normally, whatever its other fields, and later requests are ignored', () => {
  const disk = new FaultDisk(new MemoryDisk(MIB));
  const harness = transmitting(disk);
  const said = harness.feed(
    join(
      request({ type: Command.flush }),
      request({ type: Command.disc, offset: 5, length: 99, flags: 0xffff }),
      request({ type: Command.write, data: filled(100, 1) }),
    ),
  );
  assert.equal(messages(said).length, 1);
  assert.deepEqual(
    [harness.session.end, harness.session.stop],
    [SessionEnd.disconnect, SessionStop.ended],
  );
  assert.equal(disk.seen.length, 1);
});

test('bad request magic and a write above the limit end the session at once', () => {
  for (const magic of [0, 0x1256_0953, 0x6744_6698]) {
    const harness = transmitting(new MemoryDisk(MIB));
    assert.equal(harness.feed(request({ type: Command.read, length: 1, magic })).length, 0);
    assert.equal(harness.session.end, SessionEnd.requestMagic);
  }
  const disk = new FaultDisk(new MemoryDisk(64 * MIB));
  const harness = transmitting(disk);
  harness.feed(request({ type: Command.write, length: 32 * MIB + 1 }));
  assert.equal(harness.session.end, SessionEnd.writeLength);
  assert.equal(disk.seen.length, 0);
});

test('each request is counted once', () => {
  const harness = transmitting(new MemoryDisk(MIB), { structured: true });
  const { read, write, flush, trim, cache, writeZeroes, blockStatus } = Command;
  ask(harness, { type: write, data: filled(100, 1) });
  for (const type of [read, trim, cache, writeZeroes, blockStatus])
    ask(harness, { type, length: 7 });
  ask(harness, { type: flush });
  assert.deepEqual([...harness.counters], [1, 1, 1, 1, 1, 1, 1, 7, 100, 0, 0]);
});
