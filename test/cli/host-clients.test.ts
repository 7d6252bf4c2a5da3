/** Counters and log lines of the shipped host about its clients. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { askDisks } from '../../src/host/control-client.ts';
import { command, RawClient, requestBytes } from '../support/fixtures/raw-client.ts';
import { until } from '../support/fixtures/until.ts';
import { readyHost, timeout } from './host-run.ts';

test('requests refused by the NBD server count as invalid, others do not', {
  timeout,
}, async (t) => {
  const { folder } = await readyHost(t);
  using client = await RawClient.open(join(folder, 's'), 'vm1');
  const end = 64 << 20;
  for (const [type, offset, length] of [
    [command.read, end, 4096],
    [command.read, end - 4096, 8192],
    [command.read, 0, 0],
    [command.flush, 4096, 4096],
    [99, 0, 4096],
  ] as const) {
    client.socket.write(requestBytes(type, offset, length));
    assert.notEqual((await client.read(16)).readUInt32BE(4), 0, `${type} at ${offset}`);
  }
  await client.pread(end - 4096, 4096);
  const [disk] = (await askDisks(join(folder, 'c'))).disks;
  assert.deepEqual([disk?.invalidIo, disk?.reads], [5, 1]);
});

test('a limit of open files below --max-clients is logged, and so is a client beyond it', {
  timeout,
}, async (t) => {
  const { folder, said } = await readyHost(t, 'ulimit -n 256;');
  await until('the line about the limit', () => said().includes('limit of open files'));
  const max = Number(/at most (\d+) clients, not 1024: the limit of open files/.exec(said())?.[1]);
  assert.ok(max > 0 && max < 256, said());
  for (let i = 0; i < max; i++) {
    const client = await RawClient.open(join(folder, 's'), 'vm1');
    t.after(() => client[Symbol.dispose]());
  }
  const extra = connect(join(folder, 's'));
  extra.on('error', () => undefined);
  await until('a refusal', () =>
    said().includes(`nbd: refusing clients: limit of ${max} connections reached`),
  );
  await askDisks(join(folder, 'c')); // a descriptor is left for the control socket
});
