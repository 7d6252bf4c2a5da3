/** Emptying disks of a host: on request, by keep=, and not after a stop. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../support/fixtures/until.ts';
import { rig, sample, socketTo, start } from './host-rig.ts';

test('a reset empties a disk without clients; a disk with clients requires force', async (t) => {
  const { folder, parts, logged, options } = rig(t, sample);
  const host = await start(t, options);
  const [a, b] = parts.disks;
  assert.ok(a !== undefined && b !== undefined);
  const urisOf = (name: string): unknown =>
    host.report().disks.find((disk) => disk.name === name)?.uris;
  const [oldA, oldB] = [urisOf('a'), urisOf('b')];
  const client = await socketTo(join(folder, 's'));
  await until('a connection', () => host.totals().connections === 1);
  await assert.rejects(host.reset('a', false), {
    code: 'ERR_IO_IN_USE',
    message: /^disk 'a' is in use \(1 connection\): .* or use --force$/,
  });
  assert.deepEqual([a.resets, urisOf('a')], [0, oldA]);
  a.busyResets = 3;
  assert.equal(await host.reset('a', true), 3 * 4096);
  await until('the end of its client', () => client.destroyed);
  assert.equal(a.resets, 1);
  assert.notDeepEqual(urisOf('a'), oldA);
  assert.deepEqual([b.resets, urisOf('b')], [0, oldB]);
  assert.deepEqual(logged, ['disk a: reset, 12K of pages dropped']);
  await host.reset('b', false);
  assert.equal(b.resets, 1);
  await assert.rejects(host.reset('c', true), { code: 'ERR_ARG_UNKNOWN' });
});

test('a reset that waits too long for requests in flight drops nothing and fails', async (t) => {
  const { parts, options } = rig(t, sample);
  const host = await start(t, options);
  const [a] = parts.disks;
  assert.ok(a !== undefined);
  a.busyResets = Number.POSITIVE_INFINITY;
  await assert.rejects(host.reset('a', true), /requests in flight after .* try again$/);
  assert.equal(a.resets, 0);
});

test('a reset ticks the disk, whose requests in flight complete in ticks', {
  timeout: 60_000,
}, async (t) => {
  const { parts, options } = rig(t, sample);
  const host = await start(t, options);
  const [a] = parts.disks;
  assert.ok(a !== undefined);
  a.busyResets = Number.POSITIVE_INFINITY;
  a.tick = () => {
    a.busyResets = 0;
    return 1;
  };
  await host.reset('a', true);
  assert.equal(a.resets, 1);
});

test('a stopped host does no maintenance', { timeout: 60_000 }, async (t) => {
  const first = rig(t, sample);
  const host = await start(t, first.options);
  await host.stop();
  const settled = first.parts.disks[0]?.settled;
  const second = rig(t, sample);
  await start(t, second.options);
  await until('three passes of another host', () => (second.parts.disks[0]?.settled ?? 0) >= 3);
  assert.equal(first.parts.disks[0]?.settled, settled);
});

test('a reset that waits when the host stops does not touch the disk afterwards', {
  timeout: 60_000,
}, async (t) => {
  const { parts, options } = rig(t, sample);
  const host = await start(t, options);
  const [a] = parts.disks;
  assert.ok(a !== undefined);
  a.busyResets = 1;
  const reset = host.reset('a', true);
  const refused = assert.rejects(reset, { code: 'ERR_IO_IN_USE', message: /the host is stopping/ });
  await host.stop();
  await refused;
  assert.equal(a.resets, 0);
});

test('a disk with keep= is emptied that long after its last client has disconnected, and not before', async (t) => {
  const { folder, parts, logged, options } = rig(t, sample);
  const { config } = options;
  const disks = config.disks.map((disk) => ({
    ...disk,
    keepSeconds: disk.name === 'a' ? 1 : null,
  }));
  const host = await start(t, { ...options, config: { ...config, disks } });
  const [a, b] = parts.disks;
  assert.ok(a !== undefined && b !== undefined);
  const client = await socketTo(join(folder, 's'));
  await until('a connection', () => host.totals().connections === 1);
  await new Promise((resolve) => setTimeout(resolve, 1300));
  assert.equal(a.resets, 0, 'not while a client has it');
  client.destroy();
  const left = performance.now();
  await until('its reset', () => a.resets === 1);
  assert.ok(performance.now() - left >= 900, 'the time was kept');
  assert.equal(b.resets, 0);
  assert.equal(logged[0], 'disk a: reset, 12K of pages dropped');
});
