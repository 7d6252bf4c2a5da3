/** The blocking client over a stream that ends, stops or lies anywhere, with the real session at its other end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Input } from '../../../src/base/input.ts';
import type { Stream } from '../../../src/remote/ops.ts';
import { BlockingPool, type BlockingPoolOptions } from '../../../src/tmem/protocol/blocking.ts';
import { OUTPUT_BYTES, TmemOutput } from '../../../src/tmem/protocol/output.ts';
import { TmemSession } from '../../../src/tmem/protocol/session.ts';
import { Head, NewPool, ServerHello } from '../../../src/tmem/protocol/wire.ts';
import { TmemFlushResult, TmemGetResult, TmemPutResult } from '../../../src/tmem/results.ts';
import { ClientTable, type UserConnection } from '../../../src/tmem/server/client-table.ts';
import { Tmem } from '../../../src/tmem/tmem.ts';
import { FakeStore, pageOf } from '../../support/fakes/fake-store.ts';

const UUID = '00112233445566778899aabbccddeeff';
const oid = new Uint32Array(6);
const HANDSHAKE_BYTES = ServerHello.bytes + Head.bytes;

class Rig {
  readonly tmem: Tmem = new Tmem({ store: new FakeStore(100, 1e6), dedup: 'off' });
  readonly table: ClientTable;
  readonly pool: BlockingPool;
  /** Bytes of replies that a connection delivers; then it ends, as `ending` says. */
  limit: number = Number.POSITIVE_INFINITY;
  /** The same for connections after the first one. */
  laterLimit: number = Number.POSITIVE_INFINITY;
  /** 0: closed; -1: no more bytes in time. */
  ending: 0 | -1 = 0;
  connections = 0;
  ms = 0;

  constructor(options: Partial<BlockingPoolOptions> = {}) {
    this.table = new ClientTable({ tmem: this.tmem, nowMs: () => 0, cap: 0, onDoomed: () => {} });
    this.pool = new BlockingPool({
      open: (memory) => this.#open(memory),
      clock: { nowNs: () => this.ms * 1e6 },
      uuid: UUID,
      ...options,
    });
  }

  get pages(): number {
    while (this.table.step());
    return this.tmem.index.counters.get('pages');
  }

  #open(memory: Uint8Array): Stream {
    const isFirst = ++this.connections === 1;
    const pools: UserConnection = this.table.connect(this.table.user(1000)!);
    const session = new TmemSession(pools);
    const bytes = Buffer.alloc(2 * NewPool.bytes + 200_000);
    const input: Input = { bytes, view: new DataView(bytes.buffer, bytes.byteOffset) };
    const out = new TmemOutput(new Uint8Array(OUTPUT_BYTES));
    let filled = 0;
    let done = 0;
    let sent = 0;
    return {
      send: (at, length) => {
        bytes.set(memory.subarray(at, at + length), filled);
        filled += length;
        done = session.receive(input, done, filled, out, 1e9);
        if (done === filled) done = filled = 0;
        return length;
      },
      receive: (at, length) => {
        const limit = isFirst ? this.limit : this.laterLimit;
        const count = Math.min(length, out.length - sent, limit - sent, 1000);
        if (count <= 0) return this.ending;
        memory.set(out.bytes.subarray(sent, sent + count), at);
        sent += count;
        return count;
      },
      [Symbol.dispose]: () => pools.end(),
    };
  }
}

test('if the host dies or stops in the middle of a reply, the target is unchanged, and the page is found later', () => {
  const replyBytes = Head.bytes + 4 + 4096;
  for (const ending of [0, -1] as const)
    for (let cut = 0; cut < replyBytes; cut += cut < 24 || cut > replyBytes - 3 ? 1 : 331) {
      const rig = new Rig();
      assert.equal(rig.pool.put(oid, 1, pageOf(1), 0), TmemPutResult.stored);
      rig.ending = ending;
      rig.limit = HANDSHAKE_BYTES + Head.bytes + 4 + cut;
      rig.laterLimit = HANDSHAKE_BYTES + cut;
      const target = new Uint8Array(4096).fill(0xa5);
      assert.equal(rig.pool.get(oid, 1, target, 0), TmemGetResult.down, `cut at ${cut}`);
      assert.deepEqual(target, new Uint8Array(4096).fill(0xa5));
      rig.laterLimit = Number.POSITIVE_INFINITY;
      rig.ms += 1000; // the pause
      assert.equal(rig.pool.get(oid, 1, target, 0), TmemGetResult.found);
      assert.deepEqual(target, pageOf(1));
      assert.equal(rig.connections, ending === 0 ? 3 : 2);
    }
});

test('a get whose connection was closed is repeated once; one that was late, or that removes the page, is not', () => {
  for (const isVector of [false, true]) {
    const get = ({ pool }: Rig, target: Uint8Array): number => {
      const results = new Uint8Array(1);
      if (!isVector) return pool.get(oid, 1, target, 0);
      pool.getMany(new Uint32Array([...oid, 1]), 1, target, 0, results);
      return results[0]!;
    };
    const cases = [
      [new Rig(), 0, TmemGetResult.found],
      [new Rig(), -1, TmemGetResult.down],
      [new Rig({ exclusiveGets: true }), 0, TmemGetResult.down],
    ] as const;
    for (const [rig, ending, result] of cases) {
      assert.equal(rig.pool.put(oid, 1, pageOf(1), 0), TmemPutResult.stored);
      rig.ending = ending;
      rig.limit = HANDSHAKE_BYTES + Head.bytes + 4;
      const target = new Uint8Array(4096).fill(0xa5);
      assert.equal(get(rig, target), result);
      assert.deepEqual(target, result === 0 ? pageOf(1) : new Uint8Array(4096).fill(0xa5));
    }
  }
});

test('destroy() drops the pages at once; a connection that closes leaves them for the lease', () => {
  const [kept, destroyed] = [new Rig(), new Rig()];
  for (const { pool } of [kept, destroyed]) pool.put(oid, 1, pageOf(1), 0);
  kept.pool[Symbol.dispose]();
  assert.equal(kept.pages, 1);
  assert.equal(destroyed.pool.destroy(), TmemFlushResult.done);
  assert.equal(destroyed.pages, 0);
  assert.equal(destroyed.table.find(1000), null, 'nothing counts rigst the 16 pools of the user');
  assert.equal(destroyed.pool.put(oid, 1, pageOf(1), 0), TmemPutResult.down);
  assert.equal(new Rig().pool.destroy(), TmemFlushResult.down, 'it does not connect for that');
});

test('a pool that an operator destroyed is opened again, empty', () => {
  const rig = new Rig();
  const target = new Uint8Array(4096);
  const keys = new Uint32Array(7);
  const results = new Uint8Array(1);
  const calls: [string, () => number, number][] = [
    ['put', () => rig.pool.put(oid, 1, pageOf(2), 0), TmemPutResult.noPool],
    ['get', () => rig.pool.get(oid, 1, target, 0), TmemGetResult.noPool],
    ['flushPage', () => rig.pool.flushPage(oid, 1), TmemFlushResult.noPool],
    ['flushObject', () => rig.pool.flushObject(oid), TmemFlushResult.noPool],
    ['putMany', () => rig.pool.putMany(keys, 1, pageOf(2), 0, results), 0],
    ['getMany', () => rig.pool.getMany(keys, 1, target, 0, results), 0],
    ['flushMany', () => rig.pool.flushMany(keys, 1, results), 0],
  ];
  for (const [name, call, result] of calls) {
    assert.equal(rig.pool.put(oid, 1, pageOf(1), 0), TmemPutResult.stored, name);
    rig.table.doomAll(rig.table.find(1000)!);
    assert.equal(call(), result, name);
    assert.equal(rig.pool.get(oid, 1, target, 0), TmemGetResult.poolEmpty, name);
  }
});

test('a vectored call needs a key for each page', () => {
  const { pool } = new Rig();
  const [keys, results, pages] = [new Uint32Array(13), new Uint8Array(2), new Uint8Array(8192)];
  const wrong = { code: 'ERR_ARG_VALUE' };
  assert.throws(() => pool.putMany(keys, 2, pages, 0, results), wrong);
  assert.throws(() => pool.getMany(keys, 2, pages, 0, results), wrong);
  assert.throws(() => pool.flushMany(keys, 2, results), wrong);
  assert.equal(pool.putMany(new Uint32Array(14), 2, pages, 0, results), 2);
});
