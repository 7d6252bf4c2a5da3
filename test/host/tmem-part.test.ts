/** The tmem socket as a part of a host: what an operator sets stays. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { keepPages } from '../../src/arena/ops.ts';
import type { TmemUserReport } from '../../src/host/parts.ts';
import { createTmem } from '../../src/host/tmem-part.ts';
import { TmemPutResult } from '../../src/tmem/results.ts';
import { TmemClient } from '../../src/tmem/server/client.ts';
import { TemporaryFolder } from '../support/fixtures/processes.ts';
import { until } from '../support/fixtures/until.ts';

const uid = process.geteuid?.() ?? 0;

test('a frozen user stays frozen when all its connections and pools have ended', async () => {
  using folder = new TemporaryFolder();
  const path = folder.file('tmem.sock');
  const access = { uids: [uid], gids: [] }; // an id that may stand for several users must be named
  const config = { path, mode: 0o600, gid: null, limitBytes: 2 ** 24, cap: 0, access };
  const total = new Budget(2 ** 25);
  const tmem = createTmem({ config, clientsMax: 8, total, log: () => {} }, keepPages);
  await tmem.listen(path, 0o600);
  try {
    using first = await TmemClient.connect(path);
    await first.newPool();
    tmem.freeze(uid);
    first.close();
    const users = (): readonly TmemUserReport[] => tmem.report().users;
    await until(
      'it has gone',
      () => (users()[0]?.connections ?? 0) + (users()[0]?.pools.length ?? 0) === 0,
    );
    await new Promise(setImmediate);
    using second = await TmemClient.connect(path);
    const pool = await second.newPool();
    const put = (): Promise<number> => pool.put(new Uint32Array(6), 1, new Uint8Array(4096));
    assert.equal(await put(), TmemPutResult.frozen);
    tmem.thaw(uid);
    assert.equal(await put(), TmemPutResult.stored);
    second.close();
    await until('it is removed', () => users().length === 0);
  } finally {
    await tmem.close();
  }
});
