/**
 * Fuzzes the file of a saved user: files of random users that are damaged, cut, spliced, with their checksums made right again or
 * not. Each file is restored twice, cut in two ways: both must have the same outcome. A refused file must leave no page, no pool
 * and no user; an accepted one must leave the pages that it says, and must be saved again as an equal user.
 */
import assert from 'node:assert/strict';
import { crc32 } from 'node:zlib';
import { SwapError } from '../src/base/errors.ts';
import { Prng } from '../src/base/prng.ts';
import { ClientTable, type TmemUser } from '../src/tmem/server/client-table.ts';
import { HEAD_BYTES, TAIL_BYTES } from '../src/tmem/server/user-file.ts';
import { UserRestore } from '../src/tmem/server/user-restore.ts';
import { UserSave } from '../src/tmem/server/user-save.ts';
import { HEADER_BYTES, PAGE_RECORD_BYTES, PageAt, pageChecksum } from '../src/tmem/stream.ts';
import { Tmem } from '../src/tmem/tmem.ts';
import { FakeStore, pageOf } from '../test/support/fakes/fake-store.ts';

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
}

const UID = 1000;
const PAGES = 60;
const codes = ['ERR_IO_IMAGE', 'ERR_IO_NO_ROOM', 'ERR_IO_IN_USE', 'ERR_ARG_CONFLICT'];

function makeTable(): ClientTable {
  const store = new FakeStore(PAGES, 2500);
  const tmem = new Tmem({ store, dedup: 'off', objects: 12, clients: 2 });
  return new ClientTable({ tmem, nowMs: () => 0, cap: 0, onDoomed: () => {} });
}

function saveUser(table: ClientTable, user: TmemUser): Buffer {
  using save = new UserSave(table, user);
  const chunks: Buffer[] = [];
  while (!save.step((chunk) => chunks.push(Buffer.from(chunk))));
  return Buffer.concat(chunks);
}

/** A user with a few pools, saved. */
function makeFile(prng: Prng): Buffer {
  const table = makeTable();
  const user = table.user(UID)!;
  const connection = table.connect(user);
  const oid = new Uint32Array(6);
  for (let pools = 1 + prng.below(4); pools > 0; pools--) {
    const number = connection.open(
      5 | (prng.below(2) << 1),
      1 + prng.below(3),
      String(pools).repeat(32),
    );
    for (let left = prng.below(6); left > 0; left--) {
      oid[0] = prng.below(3);
      table.tmem.put(user.client, number, oid, prng.below(20), pageOf(prng.below(1000)), 0);
    }
  }
  user.isConfigured = prng.oneIn(2);
  if (prng.oneIn(4)) table.tmem.setCap(user.client, prng.below(50));
  if (prng.oneIn(4)) table.tmem.freeze(user.client);
  return saveUser(table, user);
}

/** Makes the checksums of the head, of page records at their usual places, and of the file right again. */
function seal(file: Buffer): void {
  if (file.length < HEAD_BYTES + TAIL_BYTES) return;
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  view.setUint32(HEAD_BYTES - 4, crc32(file.subarray(0, HEAD_BYTES - 4)), true);
  for (let at = HEAD_BYTES + HEADER_BYTES; at + PAGE_RECORD_BYTES < file.length - TAIL_BYTES; ) {
    const type = view.getUint32(at, true);
    if (type === 2) {
      const record = new DataView(file.buffer, file.byteOffset + at, PAGE_RECORD_BYTES);
      record.setInt32(PageAt.checksum, pageChecksum(record), true);
      at += PAGE_RECORD_BYTES;
    } else if (type === 1) at += 28;
    else if (type === 3) at += 8;
    else break;
  }
  view.setUint32(file.length - 4, crc32(file.subarray(0, file.length - 4)), true);
}

function damaged(prng: Prng, valid: Buffer): Buffer {
  let file = Buffer.from(valid);
  for (let count = prng.below(4); count > 0 && file.length > 0; count--) {
    const near = prng.oneIn(2) ? Math.min(file.length, 200) : TAIL_BYTES + 600;
    const at = prng.oneIn(2)
      ? prng.below(Math.min(near, file.length))
      : file.length - 1 - prng.below(Math.min(near, file.length));
    const what = prng.below(6);
    if (what < 3) file[at] = prng.oneIn(2) ? prng.below(6) : prng.u32() & 0xff;
    else if (what === 3)
      file = Buffer.concat([file.subarray(0, at), file.subarray(at + prng.below(50))]);
    else if (what === 4) {
      const part = file.subarray(at, at + prng.below(2 * PAGE_RECORD_BYTES));
      file = Buffer.concat([file.subarray(0, at), part, file.subarray(at)]);
    } else file = Buffer.from(file.subarray(0, prng.below(file.length + 1)));
  }
  if (!prng.oneIn(4)) seal(file);
  return file;
}

/** Restores the file in pieces; returns the outcome as text. */
function outcome(file: Buffer, prng: Prng, pieceMax: number): string {
  const table = makeTable();
  const whyNeverAdmitted = (uid: number): string => (uid === 7 ? 'no' : '');
  using restore = new UserRestore({ table, uid: null, whyNeverAdmitted });
  let text: string;
  try {
    for (let at = 0; at < file.length; ) {
      const piece = 1 + prng.below(pieceMax);
      restore.push(file.subarray(at, at + piece));
      at += piece;
    }
    const { uid, pools, pages } = restore.end();
    const user = table.find(uid)!;
    assert.equal(user.poolCount, pools);
    assert.equal(table.tmem.index.counters.get('pages'), pages);
    text = `${uid} ${pools} ${pages}`;
    if (pools > 0) {
      const again = saveUser(table, user);
      const other = makeTable();
      using second = new UserRestore({ table: other, uid: null, whyNeverAdmitted });
      second.push(again);
      assert.deepEqual(second.end(), { uid, pools, pages });
    }
  } catch (error) {
    assert.ok(error instanceof SwapError, String((error as Error).stack));
    assert.ok(codes.includes(error.code), `${error.code}: ${error.message}`);
    for (let steps = 0; table.step(); steps++) assert.ok(steps < 100, 'pools end');
    assert.equal(table.tmem.index.counters.get('pages'), 0, error.message);
    assert.equal([...table.users].length, 0, error.message);
    text = error.message;
  }
  table.tmem.verify();
  return text;
}

/** Runs for `seconds`; returns the number of files. Throws at the first failure. */
export function run({ seed, seconds }: FuzzOptions): number {
  const prng = new Prng(seed);
  const end = performance.now() + seconds * 1000;
  let count = 0;
  while (performance.now() < end) {
    const valid = makeFile(prng);
    assert.match(outcome(valid, prng, 5000), /^1000 \d+ \d+$/);
    for (let left = 20; left > 0; left--, count++) {
      const file = damaged(prng, valid);
      assert.equal(
        outcome(file, prng, 1 + prng.below(400)),
        outcome(file, prng, 9000),
        'however it is cut',
      );
    }
  }
  return count;
}
