/** The server with a real socket, real descriptors and a front-end that drives real rings. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { VhostUserServer } from '../../src/vhost-user/server.ts';
import { BlockType, VhostFrontEnd } from '../support/fixtures/vhost-front-end.ts';
import { SimpleBlockDevice } from '../support/models/simple-block-device.ts';

test('a front-end writes and reads the disk', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vhost-'));
  const lines: string[] = [];
  const disk = new Uint8Array(2 ** 20);
  const server = new VhostUserServer({
    name: 'd',
    exportNow: () => ({
      ...{ access: null, gate: null, generation: 'aaaaaaaa', busy: null },
      createCore: () => new SimpleBlockDevice(disk),
    }),
    log: (line) => lines.push(line),
    trace: (line) => lines.push(line),
  });
  const path = join(folder, 's');
  await server.listen(path, 0o600);
  const before = readdirSync('/proc/self/fd').length;
  try {
    using front = new VhostFrontEnd(path);
    await front.start();
    const page = new Uint8Array(4096).fill(7);
    assert.equal(await front.request(BlockType.out, 8, page), 0);
    assert.deepEqual(disk.slice(4096, 8192), page);
    assert.equal(await front.request(BlockType.in, 8, 4096, 1), 0);
    assert.deepEqual(front.dataOf(1, 4096), page);
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
    console.log(lines);
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(readdirSync('/proc/self/fd').length <= before, true);
});
