/** Save and restore: the restored pages equal the saved ones, and invalid streams are refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SwapError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { Restore, RestoreState } from '../../src/tmem/restore.ts';
import { TmemGetResult, TmemPutResult } from '../../src/tmem/results.ts';
import { Save } from '../../src/tmem/save.ts';
import { PAGE_RECORD_BYTES, pageChecksum } from '../../src/tmem/stream.ts';
import { Tmem } from '../../src/tmem/tmem.ts';
import { FakeStore, pageOf } from '../support/fakes/fake-store.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { indexOf, oidOf } from './tmem-twin.ts';

const UUID = '00112233445566778899aabbccddeeff';
const host = (slots = 400, limitBytes = 1e6): Tmem =>
  new Tmem({ store: new FakeStore(slots, limitBytes), pages: 400, objects: 300 });

const oids = 12;
const indexes = 6;
const into = new Uint8Array(4096);

/** The pages of one pool as text, read without a get. */
function contentOf(tmem: Tmem, client: number, pool: number): string[] {
  const pages: string[] = [];
  const { index: table } = tmem;
  const found = tmem.poolOf(client, pool);
  if (found === null) return pages;
  for (let o = 0; o < oids; o++)
    for (let i = 0; i < indexes; i++) {
      const hash = table.objects.hash(found.number, oidOf(o), 0);
      const row = table.find(found, oidOf(o), 0, hash, indexOf(i) | 0);
      if (row === 0) continue;
      assert.ok(table.contents.read(table.pages.contentOf(row), into, 0));
      pages.push(`${o} ${i} ${Buffer.from(into).readUInt32LE(0)}`);
    }
  return pages;
}

function somePage(tmem: Tmem, client: number, pool: number, prng: Prng): void {
  const answer = tmem.put(
    client,
    pool,
    oidOf(prng.below(oids)),
    indexOf(prng.below(indexes)),
    pageOf(prng.below(999)),
    0,
  );
  assert.equal(answer, TmemPutResult.stored);
}

/** Operations of the client during the copy. */
function live(tmem: Tmem, client: number, prng: Prng): void {
  const pool = prng.below(5);
  const oid = oidOf(prng.below(oids));
  const what = prng.below(40);
  if (tmem.poolOf(client, pool) === null) {
    tmem.newPool(client, { persistent: !prng.oneIn(3), exclusiveGets: prng.oneIn(3) });
    return;
  }
  if (what < 20) somePage(tmem, client, pool, prng);
  else if (what < 30) tmem.flushPage(client, pool, oid, indexOf(prng.below(indexes)));
  else if (what < 33) tmem.flushObject(client, pool, oid);
  else if (what < 39) tmem.get(client, pool, oid, indexOf(prng.below(indexes)), into, 0);
  else tmem.destroyPool(client, pool);
}

randomTest(
  "C24 a live handover transfers exactly the client's pages at the end",
  60,
  (prng, rounds) => {
    for (let round = 0; round < rounds; round++) {
      const from = host();
      const to = host();
      const other = from.addClient();
      const client = from.addClient({ weight: 7, cap: 399 });
      from.newPool(other, { persistent: true });
      somePage(from, other, 0, prng);
      for (let i = 0; i < 200; i++) live(from, client, prng);
      using save = new Save(from, client);
      using restore = new Restore(to);
      const sink = (chunk: Uint8Array): void => {
        for (let at = 0; at < chunk.length; ) {
          const take = 1 + prng.below(3000);
          restore.push(chunk.subarray(at, at + take));
          at += take;
        }
      };
      for (let i = 0; i < 12; i++) {
        const most = prng.below(12);
        assert.ok(save.step(sink, most) <= most);
        for (let k = prng.below(10); k > 0; k--) live(from, client, prng);
      }
      const before = Array.from({ length: 16 }, (_, pool) => contentOf(from, client, pool));
      const valid = save.finish(sink);
      assert.equal(restore.end(), RestoreState.done);
      assert.equal(save.damagedPages, 0);
      const arrived = to.clientOf(restore.client)!;
      assert.deepEqual([arrived.weight, arrived.cap, arrived.frozen], [7, 399, false]);
      let persistentPages = 0;
      for (let pool = 0; pool < 16; pool++) {
        const old = from.poolOf(client, pool);
        const now = to.poolOf(restore.client, pool);
        assert.equal(now === null, old === null, `pool ${pool}`);
        if (old === null || now === null) continue;
        assert.equal(now.persistent, old.persistent);
        assert.equal(now.exclusiveGets, old.exclusiveGets);
        assert.deepEqual(contentOf(to, restore.client, pool), old.persistent ? before[pool]! : []);
        if (old.persistent) persistentPages += before[pool]!.length;
      }
      assert.equal(valid, persistentPages);
      from.verify();
      to.verify();
    }
  },
);

/** A small saved client: 3 pages in a persistent pool, an ephemeral and a shared one. */
function saved(): Uint8Array {
  const from = host();
  const client = from.addClient({ weight: 3 });
  from.authorise(client, UUID);
  from.newPool(client, { persistent: true });
  from.newPool(client);
  from.newPool(client, { shared: UUID });
  for (let i = 0; i < 3; i++) from.put(client, 0, oidOf(i), i, pageOf(i), 0);
  const chunks: Uint8Array[] = [];
  new Save(from, client).finish((chunk) => chunks.push(chunk.slice()));
  return new Uint8Array(Buffer.concat(chunks)); // slice() of a Uint8Array copies
}

test('C24 a plain save keeps pool numbers and kinds; shared pools are joined if authorised', () => {
  for (const authorised of [[], [UUID]]) {
    const to = host();
    const restore = new Restore(to, authorised);
    assert.equal(restore.push(saved()), RestoreState.done);
    const kinds = [0, 1, 2, 3].map((pool) => to.poolOf(restore.client, pool));
    assert.deepEqual(
      kinds.map((p) => p?.persistent),
      [true, false, false, undefined],
    );
    assert.equal(kinds[2]!.isShared, authorised.length > 0);
    for (let i = 0; i < 3; i++) {
      assert.equal(to.get(restore.client, 0, oidOf(i), i, into, 0), TmemGetResult.found);
      assert.equal(Buffer.compare(into, pageOf(i)), 0);
    }
  }
});

test('C24 the largest weight and cap are restored, and so is a freeze', () => {
  const from = host();
  const client = from.addClient({ weight: 2 ** 20, cap: 2 ** 31 - 1 });
  from.freeze(client);
  const to = host();
  const restore = new Restore(to);
  new Save(from, client).finish((chunk) => restore.push(chunk));
  assert.equal(restore.end(), RestoreState.done);
  const { weight, cap, frozen } = to.clientOf(restore.client)!;
  assert.deepEqual([weight, cap, frozen], [2 ** 20, 2 ** 31 - 1, true]);
});

test('C24 steps end when every page was sent: isCaughtUp is false after a put, and rows bound a step', () => {
  const from = host();
  const client = from.addClient();
  from.newPool(client, { persistent: true });
  for (let i = 0; i < 30; i++) from.put(client, 0, oidOf(i % oids), i, pageOf(i), 0);
  const to = host();
  const restore = new Restore(to);
  const save = new Save(from, client);
  const sink = (chunk: Uint8Array): void => void restore.push(chunk);
  let steps = 0;
  for (; !save.isCaughtUp; steps++) assert.ok(save.step(sink, 100, 7) <= 7);
  assert.equal(steps, Math.ceil((30 + 30) / 7), 'a second pass over the rows finds no page');
  from.flushPage(client, 0, oidOf(1), 1);
  assert.equal(save.isCaughtUp, true);
  from.put(client, 0, oidOf(0), 0, pageOf(99), 0);
  assert.equal(save.isCaughtUp, false);
  assert.equal(save.finish(sink), 29);
  assert.equal(to.get(restore.client, 0, oidOf(0), 0, into, 0), TmemGetResult.found);
  assert.equal(Buffer.compare(into, pageOf(99)), 0);
});

test('C24 finish freezes the client, and a second save cannot start before the first has ended', () => {
  const from = host();
  const client = from.addClient();
  from.newPool(client, { persistent: true });
  const save = new Save(from, client);
  assert.throws(() => new Save(from, client), { code: 'ERR_ARG_CONFLICT' });
  save.finish(() => {});
  assert.equal(from.put(client, 0, oidOf(0), 0, pageOf(1), 0), TmemPutResult.frozen);
  assert.throws(() => save.step(() => {}, 1), { code: 'ERR_ARG_CONFLICT' });
  new Save(from, client)[Symbol.dispose]();
  assert.throws(() => new Save(from, 5), { code: 'ERR_ARG_UNKNOWN' });
});

test('C24 a page that cannot be read is counted and not sent', () => {
  const store = new FakeStore(10, 1e6);
  const from = new Tmem({ store });
  const client = from.addClient();
  from.newPool(client, { persistent: true });
  from.put(client, 0, oidOf(0), 0, pageOf(1), 0);
  store.pages.set(0, new Uint8Array(1));
  const to = host();
  const restore = new Restore(to);
  const save = new Save(from, client);
  assert.equal(
    save.finish((chunk) => restore.push(chunk)),
    0,
  );
  assert.equal(save.damagedPages, 1);
  assert.equal(restore.end(), RestoreState.done);
  assert.equal(to.index.pages.used, 0);
});

test('a host without space refuses the client and keeps none of its pages', () => {
  const to = new Tmem({ store: new FakeStore(2, 1e6), clients: 1 });
  const restore = new Restore(to);
  assert.equal(restore.push(saved()), RestoreState.refused);
  assert.equal(restore.end(), RestoreState.refused);
  assert.equal(to.index.pages.used, 0);
  to.addClient();
  assert.equal(new Restore(to).push(saved()), RestoreState.refused, 'no client is free');
  to.verify();
});

test('a stream truncated anywhere is refused and leaves no client', () => {
  const stream = saved();
  for (let length = 0; length < stream.length; length += length < 120 ? 1 : 53) {
    const to = host();
    const restore = new Restore(to);
    restore.push(stream.subarray(0, length));
    assert.throws(() => restore.end(), { code: 'ERR_PEER_PROTOCOL' });
    assert.equal(to.clientOf(0), null);
    assert.equal(to.index.pages.used, 0);
  }
});

test('bytes after the end are refused', () => {
  const restore = new Restore(host());
  assert.throws(() => restore.push(Buffer.concat([saved(), new Uint8Array(1)])), SwapError);
});

test('a changed byte in a page record is detected', () => {
  const stream = saved();
  const first = 16 + 28; // after the header and the first pool: the first page record
  const prng = new Prng(1);
  for (let i = 0; i < 300; i++) {
    const damaged = stream.slice();
    const at = first + 4 + (i < 40 ? i : prng.below(4100));
    damaged[at]! ^= 1 << prng.below(8);
    assert.throws(() => new Restore(host()).push(damaged), { code: 'ERR_PEER_PROTOCOL' });
  }
});

randomTest(
  "random bytes are refused or restored, and the host's invariants hold",
  400,
  (prng, rounds) => {
    const stream = saved();
    for (let round = 0; round < rounds; round++) {
      const hostile = stream.slice();
      for (let k = 1 + prng.below(3); k > 0; k--) {
        const word = prng.oneIn(2) ? prng.below(40) * 4 : prng.below(stream.length);
        const value = prng.oneIn(2) ? prng.below(7) : prng.u32() & 0xff;
        hostile[Math.min(word, stream.length - 1)] = value;
      }
      const to = host(20, 2000);
      const restore = new Restore(to);
      try {
        restore.push(hostile);
        restore.end();
      } catch (error) {
        assert.equal((error as SwapError).code, 'ERR_PEER_PROTOCOL', String(error));
      }
      if (restore.state !== RestoreState.done) assert.equal(to.index.pages.used, 0);
      to.verify();
    }
  },
);

/** Offsets in saved(): the header, pool 0, three pages, pools 1 and 2, one `valid` record, the end. */
const At = { pool: 16, page: 44, pool1: 12452, valid: 12508, end: 13028 } as const;

test('a stream with valid checksums that breaks a rule is refused with that reason', () => {
  const broken: [RegExp, number, number][] = [
    [/magic is wrong/, 0, 1],
    [/version/, 4, 2],
    [/weight/, 8, 2 ** 20 + 1],
    [/cap/, 12, 2 ** 31],
    [/unknown type/, At.pool, 6],
    [/number is out of range/, At.pool + 4, 16],
    [/unknown flags/, At.pool + 8, 8],
    [/shared and persistent/, At.pool + 8, 3],
    [/shared and persistent/, At.pool + 8, 7],
    [/not persistent/, At.pool + 8, 0],
    [/not persistent/, At.page + 4, 5],
    [/out of order/, At.valid + 4, 4096],
    [/number of valid pages/, At.valid + 8, 3],
    [/number of valid pages/, At.end + 4, 4],
    [/client has unknown flags/, At.end + 8, 2],
  ];
  for (const [reason, at, value] of broken) {
    const stream = saved();
    const view = new DataView(stream.buffer);
    view.setUint32(at, value, true);
    const page = new DataView(stream.buffer, At.page, PAGE_RECORD_BYTES);
    page.setInt32(36, pageChecksum(page), true);
    const to = host();
    const { message } = throwsProtocol(() => new Restore(to).push(stream));
    assert.match(message, reason);
    assert.equal(to.index.pages.used, 0);
  }
});

test('valid records cover every page once, after all pages and before the end', () => {
  const stream = saved();
  const part = (from: number, to: number): Uint8Array => stream.subarray(from, to);
  const valid = part(At.valid, At.end);
  const end = part(At.end, stream.length);
  const orders: [RegExp, Uint8Array[]][] = [
    [/out of order/, [part(0, At.valid), valid, valid, end]],
    [/are missing/, [part(0, At.valid), end]],
    [/follows a valid record/, [part(0, At.end), part(At.page, At.page + PAGE_RECORD_BYTES), end]],
    [/beyond the pages received/, [part(0, At.page), valid, end]],
  ];
  for (const [reason, parts] of orders) {
    const restore = new Restore(host());
    const { message } = throwsProtocol(() => restore.push(new Uint8Array(Buffer.concat(parts))));
    assert.match(message, reason);
  }
});

function throwsProtocol(body: () => void): Error {
  try {
    body();
  } catch (error) {
    assert.equal((error as SwapError).code, 'ERR_PEER_PROTOCOL', String(error));
    return error as Error;
  }
  throw new Error('the stream was accepted');
}
