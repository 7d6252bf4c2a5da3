import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import type { NbdExport } from '../../../src/nbd/protocol/exports.ts';
import { isError, SessionEnd, SessionStop } from '../../../src/nbd/protocol/state.ts';
import {
  Command,
  Info,
  Option,
  OptionReply,
  TransmissionFlag,
} from '../../../src/nbd/protocol/wire.ts';
import {
  clientFlags,
  infoData,
  join,
  metaData,
  option as optionOf,
  optionReplies,
  request,
  utf8,
} from '../../support/fixtures/nbd-client.ts';
import { Harness } from '../../support/fixtures/nbd-harness.ts';

const MIB = 1024 * 1024;
const disk = new MemoryDisk(3 * MIB);
const entry = (name: string, of = disk): [string, NbdExport] => [
  name,
  { name, description: `this is ${name}`, disk: of },
];
const exports = new Map([
  entry('first'),
  entry('read only', new MemoryDisk(MIB, { readOnly: true })),
]);

/** A session after the client flags. */
function negotiating(flags = 3): Harness {
  const harness = new Harness(exports);
  harness.open();
  assert.equal(harness.feed(clientFlags(flags)).length, 0);
  return harness;
}

const typesOf = (bytes: Uint8Array): number[] => optionReplies(bytes).map((r) => r.type);
const ask = (harness: Harness, option: number, data?: Uint8Array): number[] =>
  typesOf(harness.feed(optionOf(option, data)));

test('the greeting has both magic numbers and the flags fixed newstyle and no zeroes', () => {
  const said = Buffer.from(new Harness(exports).open());
  assert.equal(said.toString('latin1', 0, 16), 'NBDMAGICIHAVEOPT');
  assert.equal(said.readUInt16BE(16), 3);
  assert.equal(said.length, 18);
});

test('unknown client flags end the session', () => {
  for (const flags of [4, 0x8000_0000, 7]) {
    const harness = new Harness(exports);
    harness.open();
    harness.feed(clientFlags(flags));
    assert.equal(harness.session.end, SessionEnd.clientFlags);
    assert.equal(harness.session.stop, SessionStop.ended);
  }
});

test('EXPORT_NAME replies with size and flags, and 124 zeros without NO_ZEROES', () => {
  for (const [flags, tail] of [
    [1, 124],
    [3, 0],
    [0, 124],
  ] as const) {
    const harness = negotiating(flags);
    const said = Buffer.from(harness.feed(optionOf(Option.exportName, utf8('first'))));
    assert.equal(said.length, 10 + tail);
    assert.equal(said.readBigUInt64BE(0), BigInt(3 * MIB));
    assert.equal(said.readUInt16BE(8) & TransmissionFlag.hasFlags, 1);
    assert.ok(said.subarray(10).every((byte) => byte === 0));
    assert.equal(harness.session.export?.name, 'first');
  }
});

test('EXPORT_NAME of an unknown export ends the session', () => {
  const harness = negotiating();
  assert.equal(harness.feed(optionOf(Option.exportName, utf8('absent'))).length, 0);
  assert.equal(harness.session.end, SessionEnd.exportUnknown);
});

test('the empty name selects the first export, unless an export has the empty name', () => {
  const harness = negotiating();
  assert.deepEqual(ask(harness, Option.go, infoData('')), [OptionReply.info, OptionReply.ack]);
  assert.equal(harness.session.export?.name, 'first');

  const named = new Harness(new Map([entry('other'), entry('')]));
  named.open();
  named.feed(clientFlags());
  named.feed(optionOf(Option.go, infoData('')));
  assert.equal(named.session.export?.name, '');
});

test('ABORT is acknowledged and ends the session, with or without data', () => {
  for (const data of [new Uint8Array(0), utf8('reason'), new Uint8Array(20_000)]) {
    const harness = negotiating();
    assert.deepEqual(ask(harness, Option.abort, data), [OptionReply.ack]);
    assert.equal(harness.session.end, SessionEnd.abort);
  }
});

test('LIST returns each export with its description; LIST with data is invalid', () => {
  const harness = negotiating();
  const replies = optionReplies(harness.feed(optionOf(Option.list)));
  assert.deepEqual(
    replies.map((r) => [r.option, r.type]),
    [
      [Option.list, OptionReply.server],
      [Option.list, OptionReply.server],
      [Option.list, OptionReply.ack],
    ],
  );
  assert.equal(replies[0]?.data.readUInt32BE(0), 5);
  assert.equal(replies[0]?.data.toString('utf8', 4), 'firstthis is first');
  assert.deepEqual(ask(harness, Option.list, utf8('x')), [OptionReply.errInvalid]);
});

test('a list of many exports with long names is sent in pieces', () => {
  const many = new Map<string, NbdExport>();
  for (let i = 0; i < 300; i++) many.set(...entry(`${i}-${'n'.repeat(4000)}`));
  const harness = new Harness(many);
  harness.open();
  harness.feed(clientFlags());
  const replies = optionReplies(harness.feed(join(optionOf(Option.list), optionOf(99))));
  assert.equal(replies.filter((r) => r.type === OptionReply.server).length, 300);
  assert.deepEqual(
    replies.slice(300).map((r) => [r.option, r.type]),
    [
      [Option.list, OptionReply.ack],
      [99, OptionReply.errUnsup],
    ],
  );
});

test('INFO returns the requested information without opening the export; GO opens it', () => {
  const harness = negotiating();
  const wanted = [Info.name, Info.description, Info.blockSize, 77];
  const infos = optionReplies(harness.feed(optionOf(Option.info, infoData('first', wanted))));
  assert.deepEqual(
    infos.map((r) => (r.type === OptionReply.info ? r.data.readUInt16BE(0) : -r.type)),
    [Info.export, Info.name, Info.description, Info.blockSize, -OptionReply.ack],
  );
  const [size, name, description, blocks] = infos.map((r) => r.data);
  assert.equal(size?.readBigUInt64BE(2), BigInt(3 * MIB));
  assert.equal(size?.length, 12);
  assert.equal(name?.toString('utf8', 2), 'first');
  assert.equal(description?.toString('utf8', 2), 'this is first');
  assert.deepEqual(
    [blocks?.readUInt32BE(2), blocks?.readUInt32BE(6), blocks?.readUInt32BE(10)],
    [1, 4096, 32 * MIB],
  );
  assert.equal(harness.session.export?.name, undefined);
  const go = optionReplies(harness.feed(optionOf(Option.go, infoData('first'))));
  assert.deepEqual(
    go.map((r) => r.type),
    [OptionReply.info, OptionReply.ack],
  );
  assert.equal(harness.session.export?.name, 'first');
});

test('transmission flags: DF only with structured replies, no write flags for a read-only export', () => {
  const flagsOf = (harness: Harness, name: string): number | undefined =>
    optionReplies(harness.feed(optionOf(Option.info, infoData(name))))[0]?.data.readUInt16BE(10);
  const harness = negotiating();
  const plain = flagsOf(harness, 'first') ?? 0;
  harness.feed(optionOf(Option.structuredReply));
  const structured = flagsOf(harness, 'first') ?? 0;
  assert.equal(plain & TransmissionFlag.sendDf, 0);
  assert.equal(structured, plain | TransmissionFlag.sendDf);
  assert.equal(plain, 0x1 | 0x4 | 0x8 | 0x20 | 0x40 | 0x100 | 0x400 | 0x800);
  const readOnly = flagsOf(harness, 'read only') ?? 0;
  assert.equal(readOnly, 0x1 | 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x400);
});

test('GO and INFO of an unknown export are refused and the negotiation continues', () => {
  const harness = negotiating();
  for (const option of [Option.info, Option.go])
    assert.deepEqual(ask(harness, option, infoData('absent')), [OptionReply.errUnknown]);
  const notUtf8 = Uint8Array.of(0, 0, 0, 1, 0xff, 0, 0);
  assert.deepEqual(ask(harness, Option.go, notUtf8), [OptionReply.errUnknown]);
  assert.equal(harness.session.end, SessionEnd.none);
});

test('GO with inconsistent lengths is invalid', () => {
  const harness = negotiating();
  const good = infoData('first', [Info.blockSize]);
  const longName = Uint8Array.from(good);
  longName[3] = 200;
  const hugeName = Uint8Array.from(good).fill(0xff, 0, 4);
  const moreInfos = Uint8Array.from(good);
  moreInfos[10] = 9;
  const bad = [
    new Uint8Array(0),
    good.subarray(0, 5),
    good.subarray(0, good.length - 1),
    join(good, Uint8Array.of(0)),
    longName,
    hugeName,
    moreInfos,
    infoData('n'.repeat(4097)),
  ];
  for (const data of bad) assert.deepEqual(ask(harness, Option.go, data), [OptionReply.errInvalid]);
  assert.equal(harness.session.end, SessionEnd.none);
});

test('STRUCTURED_REPLY is acknowledged, also twice; with data it is invalid', () => {
  const harness = negotiating();
  assert.deepEqual(ask(harness, Option.structuredReply), [OptionReply.ack]);
  assert.deepEqual(ask(harness, Option.structuredReply), [OptionReply.ack]);
  assert.deepEqual(ask(harness, Option.structuredReply, utf8('x')), [OptionReply.errInvalid]);
});

test('meta contexts require structured replies', () => {
  const harness = negotiating();
  const data = metaData('first', ['base:allocation']);
  for (const option of [Option.listMetaContext, Option.setMetaContext])
    assert.deepEqual(ask(harness, option, data), [OptionReply.errInvalid]);
});

test('LIST_META_CONTEXT supports wildcards and ignores unknown contexts', () => {
  const harness = negotiating();
  harness.feed(optionOf(Option.structuredReply));
  const listed = (queries: string[]): boolean => {
    const data = metaData('first', queries);
    const replies = optionReplies(harness.feed(optionOf(Option.listMetaContext, data)));
    assert.equal(replies.at(-1)?.type, OptionReply.ack);
    const [context] = replies;
    if (context?.type !== OptionReply.metaContext) return false;
    assert.equal(context.data.toString('utf8', 4), 'base:allocation');
    assert.equal(replies.length, 2);
    return true;
  };
  assert.equal(listed([]), true);
  assert.equal(listed(['base:']), true);
  assert.equal(listed(['x-other:thing', 'base:allocation', 'base:']), true);
  assert.equal(listed(['x-other:thing', 'base:else', '']), false);
});

test('SET_META_CONTEXT selects exact names only, and each call replaces the last', () => {
  const statusWorks = (...calls: Uint8Array[]): boolean => {
    const harness = negotiating();
    harness.feed(optionOf(Option.structuredReply));
    for (const data of calls) harness.feed(optionOf(Option.setMetaContext, data));
    harness.feed(optionOf(Option.go, infoData('first')));
    const said = harness.feed(request({ type: Command.blockStatus, length: 4096 }));
    return Buffer.from(said).readUInt16BE(6) === 5;
  };
  const good = metaData('first', ['base:allocation']);
  assert.equal(statusWorks(good), true);
  assert.equal(
    statusWorks(metaData('', ['base:allocation'])),
    true,
    'the default export is the same',
  );
  assert.equal(statusWorks(), false);
  assert.equal(statusWorks(metaData('first', ['base:'])), false);
  assert.equal(statusWorks(good, metaData('first', [])), false);
  assert.equal(statusWorks(good, metaData('first', ['x-a:b'])), false);
  assert.equal(statusWorks(good, metaData('absent', ['base:allocation'])), false);
  assert.equal(statusWorks(good, Uint8Array.of(1)), false, 'a failed call deselects too');
  assert.equal(
    statusWorks(metaData('read only', ['base:allocation'])),
    false,
    'for another export',
  );
});

test('meta context options with inconsistent lengths are invalid', () => {
  const harness = negotiating();
  harness.feed(optionOf(Option.structuredReply));
  const good = metaData('first', ['base:allocation']);
  const moreQueries = Uint8Array.from(good);
  moreQueries.set([0xff, 0xff, 0xff, 0xff], 9);
  const longName = Uint8Array.from(good);
  longName.set([0, 0, 0x0f, 0xff], 0);
  const longQuery = Uint8Array.from(good);
  longQuery.set([0xff, 0xff, 0xff, 0xff], 13);
  const bad = [
    new Uint8Array(7),
    good.subarray(0, good.length - 1),
    join(good, Uint8Array.of(0)),
    moreQueries,
    longName,
    longQuery,
    new Uint8Array(8).fill(0xff),
  ];
  for (const data of bad)
    assert.deepEqual(ask(harness, Option.setMetaContext, data), [OptionReply.errInvalid]);
  const unknown = metaData('absent', []);
  assert.deepEqual(ask(harness, Option.setMetaContext, unknown), [OptionReply.errUnknown]);
});

test('unknown options and TLS are unsupported, with any data, and the negotiation continues', () => {
  const harness = negotiating();
  for (const option of [0, 4, 11, 12, 0xffff_ffff])
    for (const data of [new Uint8Array(0), new Uint8Array(30), new Uint8Array(65_536)])
      assert.deepEqual(ask(harness, option, data), [OptionReply.errUnsup]);
  assert.deepEqual(ask(harness, Option.startTls), [OptionReply.errUnsup]);
  assert.deepEqual(ask(harness, Option.startTls, utf8('x')), [OptionReply.errInvalid]);
  assert.equal(harness.session.end, SessionEnd.none);
});

test('a known option with too much data gets ERR_TOO_BIG, and its data is not buffered', () => {
  const harness = negotiating();
  const data = new Uint8Array(65_536);
  assert.deepEqual(ask(harness, Option.go, data), [OptionReply.errTooBig]);
  assert.deepEqual(ask(harness, Option.list), [
    OptionReply.server,
    OptionReply.server,
    OptionReply.ack,
  ]);
});

test('names and queries have up to 4096 bytes, options up to 8176', () => {
  const long = 'n'.repeat(4096);
  const named = (): Harness => {
    const harness = new Harness(new Map([entry(long), entry(`${long}n`)]));
    harness.open();
    harness.feed(clientFlags());
    harness.feed(optionOf(Option.structuredReply));
    return harness;
  };
  const { errInvalid, errTooBig, info, ack, metaContext } = OptionReply;
  assert.deepEqual(ask(named(), Option.go, infoData(long)), [info, ack]);
  assert.deepEqual(ask(named(), Option.go, infoData(`${long}n`)), [errInvalid]);
  const old = named();
  assert.equal(old.feed(optionOf(Option.exportName, utf8(long))).length, 10);
  const refused = named();
  refused.feed(optionOf(Option.exportName, utf8(`${long}n`)));
  assert.equal(refused.session.end, SessionEnd.exportUnknown);

  const contexts = (name: string, ...queries: string[]): number[] =>
    ask(named(), Option.listMetaContext, metaData(name, queries));
  assert.deepEqual(contexts(''), [metaContext, ack], 'eight bytes: no name and no queries');
  assert.deepEqual(contexts(long, 'base:'), [metaContext, ack]);
  assert.deepEqual(contexts(`${long}n`, 'base:'), [errInvalid]);
  assert.deepEqual(contexts('', long), [ack], 'the context is unknown');
  assert.deepEqual(contexts('', `${long}n`), [errInvalid]);

  assert.deepEqual(ask(named(), Option.list, new Uint8Array(8176)), [errInvalid]);
  assert.deepEqual(ask(named(), Option.list, new Uint8Array(8177)), [errTooBig]);
});

test('an option above 65536 bytes, bad option magic and too many options end the session', () => {
  const long = negotiating();
  long.feed(join(optionOf(99).subarray(0, 12), Uint8Array.of(0, 1, 0, 1)));
  assert.equal(long.session.end, SessionEnd.optionLength);

  const noMagic = negotiating();
  const bytes = optionOf(Option.list);
  bytes[7] = 0;
  noMagic.feed(bytes);
  assert.equal(noMagic.session.end, SessionEnd.optionMagic);

  const many = negotiating();
  for (let i = 0; i < 128; i++) assert.deepEqual(ask(many, 99), [OptionReply.errUnsup]);
  assert.equal(many.feed(optionOf(99)).length, 0);
  assert.equal(many.session.end, SessionEnd.optionCount);
});

test('disconnect, abort and shutdown are not errors', () => {
  const faultless = Object.values(SessionEnd).filter((end) => !isError(end));
  assert.deepEqual(faultless, [
    SessionEnd.none,
    SessionEnd.disconnect,
    SessionEnd.abort,
    SessionEnd.shutdown,
  ]);
});

test('options after shutdown get ERR_SHUTDOWN; ABORT still works', () => {
  const harness = negotiating();
  harness.session.shutDown();
  for (const option of [Option.list, Option.go, Option.structuredReply, 99])
    assert.deepEqual(ask(harness, option), [OptionReply.errShutdown]);
  assert.deepEqual(ask(harness, Option.abort), [OptionReply.ack]);
  const old = negotiating();
  old.session.shutDown();
  old.feed(optionOf(Option.exportName, utf8('first')));
  assert.equal(old.session.end, SessionEnd.shutdown);
});

test('a handshake split at any position has the same result', () => {
  const bytes = join(
    clientFlags(),
    optionOf(Option.structuredReply),
    optionOf(99, new Uint8Array(9000)),
    optionOf(Option.setMetaContext, metaData('first', ['base:allocation'])),
    optionOf(Option.list),
    optionOf(Option.go, infoData('first', [Info.name, Info.blockSize])),
    request({ type: Command.flush }),
  );
  const whole = new Harness(exports);
  whole.open();
  const want = whole.feed(bytes);
  for (const size of [1, 2, 3, 7, 15, 16, 17, 100, 4096]) {
    const cut = new Harness(exports);
    cut.open();
    assert.deepEqual(cut.feedInPieces(bytes, [size]), want, `pieces of ${size}`);
  }
});

test('one option with data is processed per call, also with invalid UTF-8', () => {
  const harness = negotiating();
  ask(harness, Option.structuredReply);
  const queries = 1000;
  const junk = Buffer.alloc(8 + 5 * queries, 0xff);
  junk.writeUInt32BE(0, 0);
  junk.writeUInt32BE(queries, 4);
  for (let i = 0; i < queries; i++) junk.writeUInt32BE(1, 8 + 5 * i);
  const before = harness.callCount;
  const asked = [1, 2, 3].map(() => optionOf(Option.setMetaContext, junk));
  const replies = optionReplies(harness.feed(Buffer.concat(asked)));
  assert.deepEqual(
    replies.map((r) => r.type),
    [OptionReply.ack, OptionReply.ack, OptionReply.ack],
  );
  assert.ok(harness.callCount - before >= 3, 'other connections get turns in between');
});
