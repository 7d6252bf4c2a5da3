/** How a host is stopped: while clients have pages on it, the first request is refused. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { askDisks } from '../../src/host/control-client.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';
import { type Run, sample, shipped, start, timeout, until } from './host-run.ts';

/** A host whose disk vm1 has a page, and a client that has it open. */
async function inUse(t: TestContext): Promise<{ run: Run; folder: string }> {
  const folder = testFolder(t);
  const run = start(t, shipped, sample(folder));
  await until(run, () => run.text.stdout !== '');
  const client = await RawClient.open(join(folder, 's'), 'vm1');
  t.after(() => client[Symbol.dispose]());
  assert.equal(await client.write(0, Buffer.alloc(4096, 'a page of the guest')), 0);
  return { run, folder };
}

test('while a client has pages the first TERM is refused, the next one accepted', {
  timeout,
}, async (t) => {
  const { run, folder } = await inUse(t);
  run.child.kill('SIGTERM');
  await until(run, () => run.text.stderr !== '');
  const told =
    /SIGTERM: not stopped: clients would lose their pages on vm1 \(4K of pages, 1 connection\); run swapoff/;
  assert.match(run.text.stderr, told);
  assert.equal((await askDisks(join(folder, 'c'))).disks[0]?.storedPages, 1);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  assert.match(
    run.text.stderr,
    /stopped; these pages are lost: vm1 \(4K of pages, 1 connection\)\n$/,
  );
});

const askToStop = (folder: string, ...more: string[]): ReturnType<typeof spawnSync> =>
  spawnSync(process.execPath, [shipped, 'stop', '--control', join(folder, 'c'), ...more], {
    encoding: 'utf8',
  });

test('stop is refused while a client has pages; the next one, or a forced one, is accepted', {
  timeout,
}, async (t) => {
  for (const force of [false, true]) {
    const { run, folder } = await inUse(t);
    if (!force) {
      const refused = askToStop(folder);
      assert.equal(refused.status, 1);
      assert.match(
        String(refused.stderr),
        /not stopped: clients would lose their pages on vm1 .*stop --force/,
      );
    }
    const { status, stdout } = askToStop(folder, ...(force ? ['--force'] : []));
    assert.deepEqual([status, stdout], [0, `host ${run.child.pid}: stopped\n`]);
    assert.equal(await run.ended, 0);
  }
});

test('without a host stop exits 3', { timeout }, (t) => {
  assert.equal(askToStop(testFolder(t)).status, 3);
});
