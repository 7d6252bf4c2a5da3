/** A host with stand-in parts: start, stop, reports and log. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SwapError } from '../../src/base/errors.ts';
import type { HostConfig } from '../../src/host/config/host-config.ts';
import { askDisks } from '../../src/host/control-client.ts';
import { Host } from '../../src/host/host.ts';
import type { StandInParts } from '../support/fakes/stand-in.ts';
import { until } from '../support/fixtures/until.ts';
import { rig, sample, socketTo, start } from './host-rig.ts';

test('start serves every disk on every listener, default export first', async (t) => {
  const { folder, parts, options } = rig(t, { ...sample, exportname: 'b', 'socket-mode': '640' });
  const host = await start(t, options);
  const port = host.addresses[1]?.kind === 'tcp' ? host.addresses[1].port : 0;
  assert.ok(port > 0);
  assert.deepEqual(host.uris, [`nbd+unix:///b?socket=${folder}/s`, `nbd://127.0.0.1:${port}/b`]);
  const [server] = parts.servers;
  assert.deepEqual([...(server?.options.exports.keys() ?? [])], ['b', 'a']);
  assert.equal(server?.options.exports.get('b')?.description, 'frontswap 2M lz4');
  assert.equal(server?.options.limits.maxClients, 1024);
  assert.equal(server?.mode, 0o640);
  assert.deepEqual(
    parts.disks.map((disk) => [Number(disk.sizeBytes), disk.stats().limitBytes]),
    [
      [2 << 20, 0],
      [1 << 20, 1 << 20],
    ],
  );
  assert.equal(readFileSync(join(folder, 'pid'), 'utf8'), `${process.pid}\n`);
});

test('the report contains the statistics of the disks and their connections', async (t) => {
  const { folder, options } = rig(t, sample);
  const host = await start(t, options);
  const client = await socketTo(join(folder, 's'));
  t.after(() => client.destroy());
  await until('a connection', () => host.totals().connections === 1);
  const document = await askDisks(host.controlPath ?? '');
  assert.deepEqual(document, host.report());
  const [a, b] = document.disks;
  assert.deepEqual([a?.name, a?.connections, a?.writes], ['a', 1, 7]);
  assert.deepEqual([b?.name, b?.connections, b?.limitBytes], ['b', 0, 0]);
  assert.deepEqual(
    b?.uris.map((uri) => uri.replace(/@[0-9a-f]{8}/, '')),
    [`nbd+unix:///b?socket=${folder}/s`, host.uris[1]?.replace('/a', '/b')],
  );
  assert.deepEqual(host.totals(), {
    diskCount: 2,
    dataBytes: 6 * 4096,
    compressedBytes: 4000,
    usedBytes: 2 * 6144,
    connections: 1,
    requests: 28,
  });
});

test('stop leaves nothing behind and can be called twice', async (t) => {
  const { folder, parts, options } = rig(t, sample);
  const host = await start(t, options);
  assert.deepEqual(readdirSync(folder).sort(), ['control', 'pid', 's']);
  await Promise.all([host.stop(), host.stop()]);
  assert.deepEqual(readdirSync(folder), []);
  assert.equal(parts.servers[0]?.closed, 1);
  assert.deepEqual(
    parts.disks.map(({ disposed }) => disposed),
    [1, 1],
  );
});

test('for a port in use the error names the option, and nothing is left behind', async (t) => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.after(() => other.close());
  const address = other.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const { folder, parts, options } = rig(t, { ...sample, port });
  await assert.rejects(Host.start(options), {
    code: 'ERR_IO_IN_USE',
    message: new RegExp(`port ${port} on 127.0.0.1 is in use; choose another one with --port`),
  });
  assert.deepEqual(readdirSync(folder), []);
  assert.equal(parts.servers[0]?.closed, 1);
  assert.equal(parts.disks[0]?.disposed, 1);
});

test('a system error of a listen becomes an error with advice', async (t) => {
  const { folder, parts, options } = rig(t, sample);
  const createNbd: StandInParts['createNbd'] = (given) => {
    const made = parts.createNbd(given);
    made.listenUnix = async () => {
      throw Object.assign(new Error('made up'), { code: 'EADDRINUSE' });
    };
    return made;
  };
  await assert.rejects(Host.start({ ...options, parts: { ...parts, createNbd: createNbd } }), {
    code: 'ERR_IO_IN_USE',
    message: `--unix: ${folder}/s is now in use by another server; choose another path with --unix, or - for a private socket`,
  });
});

test('a second host takes the next default control socket, and logs it', async (t) => {
  const first = rig(t, { unix: '@/s', control: '@/c' });
  const config: HostConfig = { ...first.options.config, control: 'default' };
  const host = await start(t, { ...first.options, config });
  const second = rig(t, { unix: '@/s', control: '@/c' });
  const { runtimeFolder } = first.options;
  const other = await start(t, {
    ...second.options,
    runtimeFolder,
    config: { ...second.options.config, control: 'default' },
  });
  assert.equal(other.controlPath, join(runtimeFolder, 'control-2.sock'));
  assert.deepEqual(second.logged, [
    `the control socket ${host.controlPath} is in use: listening on ${other.controlPath}`,
  ]);
});

test('for an address of another machine the error names the options', async (t) => {
  const { options } = rig(t, { ...sample, ipaddr: '192.0.2.1' });
  await assert.rejects(Host.start(options), {
    code: 'ERR_IO_SYSTEM',
    message: /cannot listen on 192\.0\.2\.1 port 0: .*EADDRNOTAVAIL.*--ipaddr/,
  });
});

/** A host whose NBD server listens on `port` at the first attempt that is not refused. */
async function onPort(t: TestContext, settings: object, inUse: number): Promise<[Host, string[]]> {
  const { parts, logged, options } = rig(t, settings);
  const createNbd: StandInParts['createNbd'] = (given) => {
    const made = parts.createNbd(given);
    made.listenTcp = async (_host, port) => {
      if (port - 10809 < inUse) throw Object.assign(new Error('in use'), { code: 'EADDRINUSE' });
      return { port };
    };
    return made;
  };
  return [await start(t, { ...options, parts: { ...parts, createNbd } }), logged];
}

test('a default port is not logged, unless another one replaces it', async (t) => {
  const [, quiet] = await onPort(t, {}, 0);
  assert.deepEqual(quiet, []);
  const [host, logged] = await onPort(t, {}, 2);
  assert.match(host.uris[1] ?? '', /:10811\//);
  assert.deepEqual(logged, ['port 10809 on 127.0.0.1 is in use: serving on port 10811']);
});

test('a host that listens on all addresses reports a loopback address', async (t) => {
  for (const [ipaddr, address] of [
    ['0.0.0.0', '127.0.0.1'],
    ['::', '[::1]'],
    ['192.0.2.1', '192.0.2.1'],
  ]) {
    const [host] = await onPort(t, { ipaddr, port: 10810 }, 0);
    assert.deepEqual(host.uris, [`nbd://${address}:10810/swap0`]);
  }
});

test('of two hosts with one control socket the second is refused, the first continues', async (t) => {
  const first = rig(t, sample);
  const host = await start(t, first.options);
  const second = rig(t, { unix: '@/s', control: host.controlPath });
  await assert.rejects(Host.start(second.options), {
    code: 'ERR_IO_IN_USE',
    message: new RegExp(`^--control: .*control is in use by process ${process.pid} `),
  });
  assert.deepEqual(readdirSync(second.folder), []);
  await askDisks(host.controlPath ?? '');
});

test('a disk that cannot be created fails the start, and earlier disks are disposed of', async (t) => {
  const { folder, parts, options } = rig(t, sample);
  const createDisk: StandInParts['createDisk'] = (given) => {
    if (parts.disks.length === 1) throw new SwapError('ERR_ARG_VALUE', 'no such codec');
    return parts.createDisk(given);
  };
  await assert.rejects(Host.start({ ...options, parts: { ...parts, createDisk } }), {
    message: 'no such codec',
  });
  assert.equal(parts.disks[0]?.disposed, 1);
  assert.deepEqual(readdirSync(folder), []);
});

test('a failed start reports the first error, whatever fails while it is undone', async (t) => {
  const { folder, parts, options } = rig(t, { ...sample, pidfile: '@/no/pid' });
  const createNbd: StandInParts['createNbd'] = (given) => {
    const made = parts.createNbd(given);
    const close = made.close.bind(made);
    made.close = async () => {
      await close();
      throw new Error('close failed');
    };
    return made;
  };
  await assert.rejects(Host.start({ ...options, parts: { ...parts, createNbd } }), {
    code: 'ERR_IO_SYSTEM',
  });
  assert.deepEqual(
    parts.disks.map(({ disposed }) => disposed),
    [1, 1],
    'the other steps are undone',
  );
  assert.deepEqual(readdirSync(folder), []);
});

test('a pid file that cannot be written fails the start', async (t) => {
  const { folder, options } = rig(t, { ...sample, pidfile: '@/no/pid' });
  await assert.rejects(Host.start(options), {
    code: 'ERR_IO_SYSTEM',
    message: /cannot write .*no\/pid: no such file or directory \(ENOENT\); see --pidfile/,
  });
  assert.deepEqual(readdirSync(folder), []);
});

test('a private socket is in a folder of its own, which is removed with it', async (t) => {
  const { folder, options } = rig(t, { unix: '-', run: 'true' });
  const host = await start(t, options);
  const base = join(folder, 'run');
  const [name = ''] = readdirSync(base);
  assert.match(name, /^host-/);
  assert.deepEqual(readdirSync(join(base, name)).sort(), ['control.sock', 'nbd.sock', 'pid']);
  await host.stop();
  assert.deepEqual(readdirSync(base), []);
});

test('the default control socket is in the runtime folder, which must be private', async (t) => {
  const { folder, options } = rig(t, { unix: '@/s', control: '@/c' });
  const config: HostConfig = { ...options.config, control: 'default' };
  const host = await start(t, { ...options, config });
  assert.equal(host.controlPath, join(folder, 'run', 'control.sock'));
  await host.stop();
  await assert.rejects(Host.start({ ...options, config, uid: options.uid + 1 }), {
    code: 'ERR_IO_UNSAFE_PATH',
  });
  assert.deepEqual(readdirSync(folder), ['run']);
});

test('an idle disk is compacted, a busy one is not', async (t) => {
  const { parts, options } = rig(t, sample);
  await start(t, options);
  const [idle, busy] = parts.disks;
  assert.ok(idle !== undefined && busy !== undefined);
  let reads = 0;
  busy.stats = () => ({ ...busy.stats_, reads: ++reads });
  await until('three passes', () => idle.settled >= 3);
  assert.equal(busy.settled, 0);
});

test('the process is trimmed once each time all disks become idle', async (t) => {
  const { parts, options } = rig(t, sample);
  await start(t, options);
  const [disk] = parts.disks;
  assert.ok(disk !== undefined);
  await until('rest', () => parts.trims === 1);
  const settled = disk.settled;
  await until('three passes', () => disk.settled >= settled + 3);
  assert.equal(parts.trims, 1);
  const before = disk.stats_;
  disk.stats = () => ({ ...before, reads: before.reads + 1 });
  await until('rest again', () => parts.trims === 2);
});

test('a disk stopped by a broken invariant is counted, logged once, and degrades health', async (t) => {
  const { parts, logged, options } = rig(t, sample);
  const host = await start(t, options);
  assert.match(JSON.stringify(host.health()), /"status":"ok".*"version":"1.2.3"/);
  const [disk] = parts.disks;
  assert.ok(disk !== undefined);
  disk.fault = new Error('made up');
  await until('a log line', () => logged.length > 0);
  assert.match(logged[0] ?? '', /disk a: stopped by a bug of frontswap.*made up/);
  assert.match(JSON.stringify(host.health()), /"status":"degraded","violated":\["stoppedDisks"\]/);
});

test('a disk with a damaged page degrades health and is named', async (t) => {
  const { parts, options } = rig(t, sample);
  const host = await start(t, options);
  const b = parts.disks[1];
  assert.ok(b !== undefined);
  b.stats_ = { ...b.stats_, failedWrites: 9 };
  assert.match(JSON.stringify(host.health()), /"status":"ok","violated":\[\]/);
  b.stats_ = { ...b.stats_, failedReads: 1 };
  assert.match(
    JSON.stringify(host.health()),
    /"status":"degraded","violated":\["disk b: failedReads"\]/,
  );
  b.stats_ = { ...b.stats_, backingFailures: 1, backingMismatches: 1 };
  assert.match(
    JSON.stringify(host.health()),
    /"violated":\["disk b: failedReads","disk b: backingFailures","disk b: backingMismatches"\]/,
  );
});

test('health and statistics contain the traffic of the NBD server', async (t) => {
  const { folder, options } = rig(t, sample);
  const host = await start(t, options);
  const first = await socketTo(join(folder, 's'));
  await until('a connection', () => host.totals().connections === 1);
  first.destroy();
  await until('its end', () => host.totals().connections === 0);
  const second = await socketTo(join(folder, 's'));
  t.after(() => second.destroy());
  await until('another connection', () => host.totals().connections === 1);
  assert.match(
    JSON.stringify(host.health()),
    /"nbd":\{"connections":1,"accepted":2,"refused":2,"dropped":3,"bytesIn":4,"bytesOut":5\}/,
  );
  assert.match(
    host.describeCounters(),
    /\n1 clients nbd connections: connected now\n2 clients nbd/,
  );
});

test('a disk that begins to refuse writes is logged once, with its limit', async (t) => {
  const { parts, logged, options } = rig(t, sample);
  await start(t, options);
  const [a, b] = parts.disks;
  assert.ok(a !== undefined && b !== undefined);
  a.stats_ = { ...a.stats_, failedWrites: 1 };
  await until('a log line', () => logged.length > 0);
  a.stats_ = { ...a.stats_, failedWrites: 2 };
  const settled = b.settled;
  await until('three passes', () => b.settled >= settled + 3);
  b.stats_ = { ...b.stats_, failedWrites: 1 };
  await until('another line', () => logged.length > 1);
  assert.deepEqual(logged, [
    'disk a: refuses writes: its limit of 1M is reached; the guest keeps those pages in its own memory',
    'disk b: refuses writes: no memory is left; the guest keeps those pages in its own memory',
  ]);
});

test('for a full or damaged backing the log contains its path', async (t) => {
  const { parts, logged, options } = rig(t, { ...sample, disk: ['a=1M,limit=1M,backing=/b'] });
  await start(t, options);
  const [a] = parts.disks;
  assert.ok(a !== undefined);
  a.stats_ = { ...a.stats_, backingFailures: 1, backingNoSpace: 1 };
  await until('a log line', () => logged.length > 0);
  a.stats_ = { ...a.stats_, failedReads: 1, backingMismatches: 1 };
  await until('another line', () => logged.length > 1);
  assert.match(logged[0] ?? '', /^disk a: its backing \/b has no space left; its pages/);
  assert.match(
    logged[1] ?? '',
    /^disk a: its backing \/b returned 1 page\(s\) with other contents/,
  );
});

test('a disk near its limit is logged once, with the consequence', async (t) => {
  const { parts, logged, options } = rig(t, sample);
  await start(t, options);
  const [a, b] = parts.disks;
  assert.ok(a !== undefined && b !== undefined);
  a.stats_ = { ...a.stats_, limitBytes: 2 ** 20, usedBytes: 950_000 };
  b.stats_ = { ...b.stats_, limitBytes: 2 ** 20, usedBytes: 940_000 };
  await until('a log line', () => logged.length > 0);
  const settled = b.settled;
  await until('three passes', () => b.settled >= settled + 3);
  assert.deepEqual(logged, [
    'disk a: 90 % of its limit of 1M is used; at the limit it refuses writes; ' +
      'serve it with a higher limit, or have the guest swap less',
  ]);
});

test('a total near its limit is logged once, and a disk that refuses writes because of it names it', async (t) => {
  const { parts, logged, options } = rig(t, { ...sample, 'total-limit': '4M' });
  await start(t, options);
  const [a, b] = parts.disks;
  assert.ok(a !== undefined && b !== undefined);
  assert.equal(a.total, b.total, 'one total for all');
  assert.ok(b.total?.reserve(3_900_000));
  await until('a log line', () => logged.length > 0);
  b.stats_ = { ...b.stats_, failedWrites: 1 };
  await until('another line', () => logged.length > 1);
  assert.deepEqual(logged, [
    'all disks: 92 % of the total limit of 4M is used; at the limit writes are refused or go to a backing; ' +
      'raise --total-limit, or have the guests swap less',
    'disk b: refuses writes: the total limit of 4M is reached; the guest keeps those pages in its own memory',
  ]);
});

test('removeFiles() removes the files at once', async (t) => {
  const { folder, options } = rig(t, sample);
  const host = await start(t, options);
  writeFileSync(join(folder, 'other'), '');
  host.removeFiles();
  assert.deepEqual(readdirSync(folder), ['other']);
  assert.ok(existsSync(join(folder, 'other')));
});
