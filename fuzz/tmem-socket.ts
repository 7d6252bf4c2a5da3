/**
 * Fuzzes the session of the tmem socket: streams of valid requests that are damaged and cut anywhere. Each stream runs twice,
 * cut in two ways, with other bytes around the input: both must give the same replies and the same end. Replies must be
 * readable by the client's reader, one for each request, and the tables must add up.
 */
import assert from 'node:assert/strict';
import type { Input } from '../src/base/input.ts';
import { Prng } from '../src/base/prng.ts';
import { OUTPUT_BYTES, TmemOutput } from '../src/tmem/protocol/output.ts';
import { Frame, ReplyReader, RequestWriter } from '../src/tmem/protocol/requests.ts';
import { Stop, TmemSession } from '../src/tmem/protocol/session.ts';
import { Op, PAGES_MAX, REQUEST_PART_BYTES_MAX } from '../src/tmem/protocol/wire.ts';
import { ClientTable } from '../src/tmem/server/client-table.ts';
import { Tmem } from '../src/tmem/tmem.ts';
import { FakeStore, pageOf } from '../test/support/fakes/fake-store.ts';

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
}

const STREAM_BYTES = 400_000;

/** Requests, most of them valid. */
function makeStream(prng: Prng): Uint8Array {
  const bytes = new Uint8Array(STREAM_BYTES);
  const writer = new RequestWriter(bytes, 0, bytes.length);
  const oid = new Uint32Array(6);
  writer.hello();
  for (let left = prng.below(40), id = 0; left > 0 && writer.fits(140_000); left--, id++) {
    oid[0] = prng.below(4);
    const pool = prng.below(5);
    const what = prng.below(10);
    const count = prng.oneIn(4) ? 1 + prng.below(PAGES_MAX) : 1;
    if (what < 2) {
      const isNamed = prng.oneIn(2);
      const flags = prng.below(2) | (isNamed ? 4 : 0);
      const lease = isNamed && (flags & 1) !== 0 ? prng.below(3) : 0;
      writer.newPool(id, flags, lease, isNamed ? String(prng.below(3)).repeat(32) : '');
    } else if (what < 3) writer.head(prng.oneIn(3) ? Op.destroyPool : Op.flushObject, pool, 0, id);
    else {
      const op = what < 6 ? Op.put : what < 9 ? Op.get : Op.flushPage;
      writer.head(op, pool, count, id);
      for (let i = 0; i < count; i++) {
        writer.oid(oid, 0);
        writer.index(prng.below(30));
        if (op === Op.put) writer.page(pageOf(prng.below(1000)), 0);
      }
    }
  }
  const stream = bytes.slice(0, writer.writtenBytes);
  for (let damage = prng.below(3); damage > 0 && stream.length > 0; damage--)
    stream[prng.below(prng.oneIn(2) ? Math.min(stream.length, 200) : stream.length)] =
      prng.u32() & 0xff;
  return stream.subarray(0, prng.oneIn(3) ? prng.below(stream.length + 1) : stream.length);
}

interface Outcome {
  readonly replies: Buffer;
  readonly fault: string;
  readonly pages: number;
}

/** Feeds the stream in random pieces, with `around` before and behind the input. */
function runStream(stream: Uint8Array, prng: Prng, around: number): Outcome {
  const tmem = new Tmem({
    store: new FakeStore(60, 3000),
    dedup: 'off',
    objects: 10,
    sharedPools: 64,
  });
  const table = new ClientTable({ tmem, nowMs: () => 0, cap: 0, onDoomed: () => {} });
  const pools = table.connect(table.user(1000)!);
  const session = new TmemSession(pools);
  const lead = 64;
  const bytes = Buffer.alloc(lead + STREAM_BYTES + lead, around);
  const input: Input = { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
  const out = new TmemOutput(new Uint8Array(OUTPUT_BYTES));
  const replies: Buffer[] = [];
  let fed = 0;
  let carry: Uint8Array = new Uint8Array(0);
  while (session.fault === '') {
    const piece = Math.min(
      stream.length - fed,
      prng.oneIn(3) ? prng.below(40) : prng.below(20_000),
    );
    bytes.fill(around);
    bytes.set(carry, lead);
    bytes.set(stream.subarray(fed, fed + piece), lead + carry.length);
    fed += piece;
    const end = lead + carry.length + piece;
    let at = lead;
    for (let calls = 0; ; calls++) {
      assert.ok(calls < 10_000, 'the session makes progress');
      at = session.receive(input, at, end, out, prng.oneIn(2) ? 1 + prng.below(20_000) : 1e6);
      assert.ok(at >= lead && at <= end, 'it stays inside its input');
      if (session.stop !== Stop.grant || prng.oneIn(3)) {
        replies.push(Buffer.from(out.bytes.subarray(0, out.length)));
        out.clear();
      }
      if (session.stop === Stop.input || session.stop === Stop.ended) break;
    }
    carry = new Uint8Array(bytes.subarray(at, end));
    if (session.fault === '')
      assert.ok(carry.length < REQUEST_PART_BYTES_MAX, 'a carry is bounded');
    if (fed === stream.length) break;
  }
  const pages = tmem.index.counters.get('pages');
  tmem.verify();
  pools.end();
  for (let steps = 0; table.step(); steps++) assert.ok(steps < 10_000, 'pools end');
  tmem.verify();
  return { replies: Buffer.concat(replies), fault: session.fault, pages };
}

/** Runs one stream twice. Returns the number of replies. */
function checkStream(prng: Prng): number {
  const stream = makeStream(prng);
  const first = runStream(stream, prng, 0xa5);
  const second = runStream(stream, prng, 0x03);
  assert.equal(second.fault, first.fault);
  assert.equal(second.pages, first.pages);
  assert.ok(first.replies.equals(second.replies), 'the same replies however the stream is cut');
  const reader = new ReplyReader(first.replies);
  let count = 0;
  for (let at = 0; at < first.replies.length; at = reader.next, count++) {
    const frame = reader.read(at, first.replies.length);
    assert.equal(frame, count === 0 ? Frame.hello : Frame.reply);
  }
  return count;
}

/** Runs for `seconds`; returns the number of streams. Throws at the first failure. */
export function run({ seed, seconds }: FuzzOptions): number {
  const prng = new Prng(seed);
  const end = performance.now() + seconds * 1000;
  let count = 0;
  for (; performance.now() < end; count++) checkStream(prng);
  return count;
}
