/** The limits of a step of UserSave: how long other users wait. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserSave } from '../../../src/tmem/server/user-save.ts';
import { PAGE_RECORD_BYTES } from '../../../src/tmem/stream.ts';
import { FakeStore } from '../../support/fakes/fake-store.ts';
import { noisePage as noise } from '../../support/fixtures/pages.ts';
import { tmemRig } from './tmem-rig.ts';

const uid = process.geteuid?.() ?? 0;
const oid = new Uint32Array(6);
const STEP_PAGES = 15;
const STEP_ROWS = 16384;

/** The pages of each step of a save of `saved` pages, behind the rows of `others` pages that are not saved. */
async function steps(others: number, saved: number): Promise<readonly number[]> {
  const pages = others + saved;
  await using rig = await tmemRig({ tmem: { store: new FakeStore(pages, 1e9), pages } });
  const connection = await rig.connect();
  await connection.newPool({ persistent: true });
  await connection.newPool({ persistent: true, uuid: '1'.padStart(32, '0'), leaseSeconds: 60 });
  const user = rig.server.clients.find(uid)!;
  const page = noise(1);
  for (let i = 0; i < pages; i++)
    assert.equal(rig.tmem.put(user.client, i < others ? 0 : 1, oid, i, page, 0), 0);
  using save = new UserSave(rig.server.clients, user);
  const sent: number[] = [];
  for (let isLast = false; !isLast; ) {
    let count = 0;
    isLast = save.step((chunk) => {
      if (chunk.length === PAGE_RECORD_BYTES) count++;
    });
    sent.push(count);
  }
  return sent;
}

test('a step of a save sends 15 pages and visits 16384 rows at most', async () => {
  assert.deepEqual(
    (await steps(0, 2 * STEP_PAGES + 1)).filter((count) => count > 0),
    [STEP_PAGES, STEP_PAGES, 1],
  );
  assert.deepEqual((await steps(STEP_ROWS - 1, 1)).slice(0, 2), [1, 0]);
  assert.deepEqual((await steps(STEP_ROWS, 1)).slice(0, 2), [0, 1]);
});
