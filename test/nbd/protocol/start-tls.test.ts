/** STARTTLS: what each state of a connection allows, and what is discarded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import type { NbdExport } from '../../../src/nbd/protocol/exports.ts';
import { SessionEnd, SessionStop, type TlsMode } from '../../../src/nbd/protocol/state.ts';
import { Command, Option, OptionReply } from '../../../src/nbd/protocol/wire.ts';
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

const disk = new MemoryDisk(1024 * 1024);
const exports = new Map<string, NbdExport>([
  ['secret', { name: 'secret', description: 'not for everyone', disk }],
]);

/** A session after the client flags. */
function negotiating(tls: TlsMode): Harness {
  const harness = new Harness(exports, { tls });
  harness.open();
  harness.feed(clientFlags());
  return harness;
}

const ask = (harness: Harness, option: number, data?: Uint8Array): number[] =>
  optionReplies(harness.feed(optionOf(option, data))).map((r) => r.type);

function secured(tls: TlsMode): Harness {
  const harness = negotiating(tls);
  assert.deepEqual(ask(harness, Option.startTls), [OptionReply.ack]);
  harness.session.secured();
  return harness;
}

/** Options with the data of a client that knows the name, of one that does not, and with invalid data. */
const everyData = [
  new Uint8Array(0),
  infoData('secret'),
  infoData('absent'),
  metaData('secret', ['base:allocation']),
  new Uint8Array(50).fill(0xff),
  new Uint8Array(20_000),
];

test('STARTTLS is acknowledged, and nothing is processed until the handshake is complete', () => {
  for (const tls of ['on', 'require'] as const) {
    const harness = negotiating(tls);
    const replies = optionReplies(harness.feed(optionOf(Option.startTls)));
    assert.deepEqual(
      replies.map(({ option, type, data }) => [option, type, data.length]),
      [[Option.startTls, OptionReply.ack, 0]],
    );
    assert.equal(harness.session.stop, SessionStop.startTls);
    assert.throws(() => harness.feed(optionOf(Option.list)), /TLS handshake is complete/);
  }
});

test('STARTTLS byte by byte is acknowledged once', () => {
  const harness = negotiating('require');
  const said = harness.feedInPieces(optionOf(Option.startTls), [1]);
  assert.deepEqual(
    optionReplies(said).map((r) => r.type),
    [OptionReply.ack],
  );
});

test('without TLS, STARTTLS is unsupported', () => {
  const harness = negotiating('off');
  assert.deepEqual(ask(harness, Option.startTls), [OptionReply.errUnsup]);
  assert.deepEqual(ask(harness, Option.go, infoData('secret')).at(-1), OptionReply.ack);
});

test('with TLS required, every option but STARTTLS and ABORT has one answer before TLS', () => {
  const special: readonly number[] = [Option.startTls, Option.abort, Option.exportName];
  const others = Object.values(Option).filter((option) => !special.includes(option));
  for (const option of [...others, 0, 11, 0xffff_ffff])
    for (const data of everyData) {
      const harness = negotiating('require');
      const replies = optionReplies(harness.feed(optionOf(option, data)));
      assert.deepEqual(
        replies.map((r) => [r.option, r.type, r.data.length]),
        [[option, OptionReply.errTlsRequired, 0]],
        `option ${option} with ${data.length} bytes`,
      );
      assert.equal(harness.session.end, SessionEnd.none);
      assert.equal(harness.session.export, null);
    }
});

test('with TLS required, EXPORT_NAME before TLS disconnects, with any name', () => {
  for (const name of [utf8('secret'), utf8('absent'), utf8(''), new Uint8Array(20_000)]) {
    const harness = negotiating('require');
    assert.equal(harness.feed(optionOf(Option.exportName, name)).length, 0);
    assert.equal(harness.session.end, SessionEnd.tlsRequired);
    assert.equal(harness.session.export, null);
  }
});

test('ABORT needs no TLS', () => {
  for (const data of [new Uint8Array(0), new Uint8Array(20_000)]) {
    const harness = negotiating('require');
    assert.deepEqual(ask(harness, Option.abort, data), [OptionReply.ack]);
    assert.equal(harness.session.end, SessionEnd.abort);
  }
});

test('TLS_REQD is never sent where TLS is optional, nor after TLS has started', () => {
  for (const harness of [negotiating('on'), secured('on'), secured('require')]) {
    assert.deepEqual(ask(harness, Option.list), [OptionReply.server, OptionReply.ack]);
    assert.deepEqual(ask(harness, 99), [OptionReply.errUnsup]);
    assert.deepEqual(ask(harness, Option.go, infoData('absent')), [OptionReply.errUnknown]);
    assert.equal(ask(harness, Option.go, infoData('secret')).at(-1), OptionReply.ack);
    assert.equal(harness.session.export?.name, 'secret');
  }
});

test('EXPORT_NAME works after TLS', () => {
  const harness = secured('require');
  assert.equal(harness.feed(optionOf(Option.exportName, utf8('secret'))).length, 10);
  assert.equal(harness.session.export?.name, 'secret');
});

test('a second STARTTLS is invalid, and so is one with data', () => {
  for (const tls of ['on', 'require'] as const) {
    assert.deepEqual(ask(secured(tls), Option.startTls), [OptionReply.errInvalid]);
    const harness = negotiating(tls);
    assert.deepEqual(ask(harness, Option.startTls, utf8('x')), [OptionReply.errInvalid]);
    const long = new Uint8Array(20_000);
    assert.deepEqual(ask(harness, Option.startTls, long), [OptionReply.errTooBig]);
    assert.deepEqual(ask(harness, Option.startTls), [OptionReply.ack], 'it may be sent again');
  }
});

test('input after STARTTLS ends the session before the acknowledgement', () => {
  const inserted = [
    new Uint8Array(1),
    optionOf(Option.list),
    optionOf(Option.go, infoData('secret')),
    optionOf(Option.exportName, utf8('secret')),
  ];
  for (const tls of ['on', 'require'] as const)
    for (const bytes of inserted) {
      const harness = negotiating(tls);
      assert.equal(harness.feed(join(optionOf(Option.startTls), bytes)).length, 0);
      assert.equal(harness.session.end, SessionEnd.plainAfterStartTls);
      assert.equal(harness.session.export, null);
    }
});

test('options negotiated without TLS are discarded', () => {
  const harness = negotiating('on');
  const meta = metaData('secret', ['base:allocation']);
  assert.deepEqual(ask(harness, Option.structuredReply), [OptionReply.ack]);
  assert.equal(ask(harness, Option.setMetaContext, meta).at(-1), OptionReply.ack);
  assert.deepEqual(ask(harness, Option.startTls), [OptionReply.ack]);
  harness.session.secured();
  assert.deepEqual(
    ask(harness, Option.setMetaContext, meta),
    [OptionReply.errInvalid],
    'structured replies are not negotiated',
  );
  harness.feed(optionOf(Option.go, infoData('secret')));
  const said = Buffer.from(harness.feed(request({ type: Command.read, length: 512 })));
  assert.equal(said.length, 16 + 512, 'a simple reply');
  const status = Buffer.from(harness.feed(request({ type: Command.blockStatus, length: 512 })));
  assert.equal(status.readUInt32BE(4), 22, 'no metadata context');
});

test('a metadata context selected without TLS stays discarded after structured replies are negotiated again', () => {
  const harness = negotiating('on');
  ask(harness, Option.structuredReply);
  ask(harness, Option.setMetaContext, metaData('secret', ['base:allocation']));
  ask(harness, Option.startTls);
  harness.session.secured();
  assert.deepEqual(ask(harness, Option.structuredReply), [OptionReply.ack]);
  harness.feed(optionOf(Option.go, infoData('secret')));
  const chunk = Buffer.from(harness.feed(request({ type: Command.blockStatus, length: 512 })));
  assert.equal(chunk.readUInt16BE(6), 0x8001, 'an error chunk');
});

test('options negotiated through TLS take effect', () => {
  const harness = secured('require');
  assert.deepEqual(ask(harness, Option.structuredReply), [OptionReply.ack]);
  const meta = metaData('secret', ['base:allocation']);
  assert.equal(ask(harness, Option.setMetaContext, meta).at(-1), OptionReply.ack);
});

test('during shutdown STARTTLS is refused, and other options still say that TLS is required', () => {
  const harness = negotiating('require');
  harness.session.shutDown();
  assert.deepEqual(ask(harness, Option.startTls), [OptionReply.errShutdown]);
  assert.deepEqual(ask(harness, Option.list), [OptionReply.errTlsRequired]);
});

test('options before and after STARTTLS count towards the same limit', () => {
  const harness = negotiating('on');
  for (let i = 0; i < 100; i++) harness.feed(optionOf(99));
  ask(harness, Option.startTls);
  harness.session.secured();
  for (let i = 0; i < 27; i++) assert.equal(ask(harness, 99).length, 1);
  harness.feed(optionOf(99));
  assert.equal(harness.session.end, SessionEnd.optionCount);
});
