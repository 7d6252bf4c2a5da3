/** A host reads its files again while clients use its disks: real disks, a real NBD server, the control socket. */
import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readHostConfig } from '../../src/host/config/sources.ts';
import { askDisk, askDisks, askReload, askSet } from '../../src/host/control-client.ts';
import { freePort } from '../support/fixtures/processes.ts';
import { check, fill, type Live, leave, live, MiB, options, PAGE, somePages } from './live-rig.ts';

interface Reloading extends Live {
  /** Writes the file: `@` is replaced by the folder. */
  write(text: string): void;
  readonly errors: string[];
}

/** A host whose configuration is a file: a line per setting of the host, then the disks. */
async function withFile(t: TestContext, text: string, more = ''): Promise<Reloading> {
  const errors: string[] = [];
  const pathIn = (folder: string): string => join(folder, 'h.toml');
  const put = (folder: string, disks: string): void => {
    const head = `unix = '${folder}/nbd'\ncontrol = '${folder}/control'\n`;
    writeFileSync(pathIn(folder), head + disks.replaceAll('@', folder));
  };
  const made = await live(t, {}, (folder) => {
    put(folder, more + text);
    const read = (): ReturnType<typeof readHostConfig> =>
      readHostConfig({ file: pathIn(folder), flags: new Map() });
    return { config: read(), readConfig: read, logError: (line) => errors.push(line) };
  });
  return { ...made, errors, write: (disks) => put(made.folder, disks) };
}

const disk = (name: string, size: string, ...lines: string[]): string =>
  [`[disks.${name}]`, `size = "${size}"`, ...lines, ''].join('\n');

const statusOf = (port: number): Promise<number> =>
  new Promise((resolve) => {
    get({ port, path: '/readyz' }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    }).once('error', () => resolve(0));
  });

test(
  'disks are added, changed and removed; clients of other disks notice nothing',
  options,
  async (t) => {
    const host = await withFile(t, disk('a', '8M') + disk('b', '8M') + disk('c', '8M'));
    const { control, open, write } = host;
    const [a, b] = [await open('a'), await open('b')];
    const pages = somePages(64);
    await fill(a, pages);
    await fill(b, pages);
    write(
      disk('a', '8M') +
        disk('b', '8M', 'limit = "4M"', 'keep = 9') +
        disk('d', '4M', 'rate = "1M"'),
    );
    assert.deepEqual(await askReload(control), {
      changed: [
        'disk c: removed',
        'disk b: keep changed',
        'disk b: limit changed',
        'disk d: added',
      ],
      failed: [],
      ignored: [],
    });
    const { disks } = await askDisks(control);
    assert.deepEqual(
      disks.map(({ name, limitBytes, rateBytes, connections }) => [
        name,
        limitBytes,
        rateBytes,
        connections,
      ]),
      [
        ['a', 0, 0, 1],
        ['b', 4 * MiB, 0, 1],
        ['d', 0, MiB, 0],
      ],
    );
    await check(a, pages);
    await check(b, pages);
    await fill(await open('d'), somePages(4));
    assert.deepEqual(host.errors, []);
  },
);

test('a disk in use is neither removed nor resized, and is tried again', options, async (t) => {
  const { control, open, write, errors } = await withFile(t, disk('a', '8M') + disk('b', '8M'));
  const [a, b] = [await open('a'), await open('b')];
  const pages = somePages(8);
  await fill(a, pages);
  await fill(b, pages);
  write(disk('b', '16M', 'rate = "1M"'));
  const first = await askReload(control);
  assert.deepEqual(first.changed, ['disk b: rate changed']);
  assert.match(first.failed.join('\n'), /^disk 'a' is in use .*\ndisk 'b' keeps its size: /);
  assert.match(errors.join('\n'), /^reload: not done: disk 'a' is in use/);
  await check(a, pages);
  await leave(control, 'b', b);
  assert.deepEqual((await askReload(control)).changed, ['disk b: size changed']);
  assert.equal((await askDisk(control, 'b')).diskSizeBytes, 16 * MiB);
  await check(await open('b'), pages);
  await leave(control, 'a', a);
  // It still has pages, which a reload does not drop.
  assert.match((await askReload(control)).failed.join(), /'a' has 32K of pages/);
  const again = await open('a');
  for (let i = 0; i < 8; i++) await again.write(i * PAGE, Buffer.alloc(PAGE));
  await check(again, [Buffer.alloc(PAGE)]);
});

test('an invalid file changes nothing; every error is reported', options, async (t) => {
  const { control, open, write, errors } = await withFile(t, disk('a', '8M'));
  const a = await open('a');
  await fill(a, somePages(8));
  write(`${disk('a', '8M', 'limit = "1M"')}prot = 1\n${disk('b', '4')}`);
  await assert.rejects(askReload(control), {
    code: 'ERR_ARG_VALUE',
    message:
      /^2 errors .*\n {2}.*h.toml:6: disks.a.prot: .*did you mean.*|\n {2}.*h.toml:8: disks.b.size: '4' is/,
  });
  assert.match(errors.join(), /^reload: nothing was changed: 2 errors/);
  assert.equal((await askDisk(control, 'a')).limitBytes, 0);
  await check(a, somePages(8));
  // A file that is still being written.
  write('');
  await assert.rejects(askReload(control), {
    code: 'ERR_ARG_VALUE',
    message: /^the files no longer describe any disk/,
  });
  await check(a, somePages(8));
  write(disk('a', '8M', 'limit = "1M"'));
  assert.deepEqual((await askReload(control)).changed, ['disk a: limit changed']);
});

test(
  'changes by frontswap set stay until the file changes the same setting',
  options,
  async (t) => {
    const { control, write } = await withFile(t, disk('a', '8M', 'limit = "2M"'));
    await askSet(control, 'a', { limit: '3M', rate: '5M' }, false);
    write(disk('a', '8M', 'limit = "2M"', 'keep = 5'));
    assert.deepEqual((await askReload(control)).changed, ['disk a: keep changed']);
    const { limitBytes, rateBytes } = await askDisk(control, 'a');
    assert.deepEqual([limitBytes, rateBytes], [3 * MiB, 5 * MiB]);
    write(disk('a', '8M', 'limit = "1M"', 'keep = 5'));
    assert.deepEqual((await askReload(control)).changed, ['disk a: limit changed']);
  },
);

test(
  'a reload applies settings of the host: limits, socket mode, default disk, metrics',
  options,
  async (t) => {
    const disks = disk('a', '8M') + disk('b', '8M');
    const host = await withFile(t, disks);
    const { control, folder, open, write } = host;
    const modeNow = (): number => statSync(join(folder, 'nbd')).mode & 0o777;
    const a = await open('a');
    await fill(a, somePages(512));
    write(
      `total-limit = "64M"\nlimit = "5M"\nsocket-mode = "0660"\nexportname = "b"\nmetrics = 0\n${disks}`,
    );
    const { changed, failed } = await askReload(control);
    assert.deepEqual(failed, []);
    assert.deepEqual(changed, [
      'limit: changed for the disks without their own',
      'disk b: limit changed',
      'disk a: limit changed',
      'total-limit: 64M',
      'socket-mode: 0660',
      'metrics: port 0',
      'exportname: b',
    ]);
    assert.equal(modeNow(), 0o660);
    assert.equal(host.host.defaultExport, 'b');
    const port = Number(new URL(host.host.metricsUrl ?? '').port);
    assert.equal(await statusOf(port), 200);
    write(`total-limit = "512K"\nlimit = "5M"\nsocket-mode = "0600"\nexportname = "b"\n${disks}`);
    const second = await askReload(control);
    assert.deepEqual(second.changed, ['socket-mode: 0600', 'metrics: closed']);
    assert.match(
      second.failed.join(),
      /total-limit: the disks use .*, more than the new limit of 512K/,
    );
    assert.equal(modeNow(), 0o600);
    assert.equal(await statusOf(port), 0);
    await check(a, somePages(512));
    // The changed socket is still removed at the stop.
    await host.host.stop();
    assert.equal(statSync(join(folder, 'nbd'), { throwIfNoEntry: false }), undefined);
  },
);

test(
  'the metrics move to another address of their port; a wrong one changes nothing',
  options,
  async (t) => {
    const { control, host, write } = await withFile(t, disk('a', '8M'), 'metrics = 0\n');
    const { port } = new URL(host.metricsUrl ?? '');
    const move = async (address: string): Promise<[string, string]> => {
      write(`metrics = "${address}:${port}"\n${disk('a', '8M')}`);
      const { changed, failed } = await askReload(control);
      return [changed.join(), failed.join()];
    };
    assert.deepEqual(await move('0.0.0.0'), [`metrics: port ${port}`, '']);
    assert.equal(new URL(host.metricsUrl ?? '').host, `0.0.0.0:${port}`);
    assert.equal(await statusOf(Number(port)), 200);
    assert.match((await move('192.0.2.1'))[1], /cannot listen on 192.0.2.1 .*EADDRNOTAVAIL/);
    assert.equal(await statusOf(Number(port)), 200);
    assert.deepEqual(await move('127.0.0.1'), [`metrics: port ${port}`, '']);
    assert.equal(new URL(host.metricsUrl ?? '').host, `127.0.0.1:${port}`);
  },
);

test('a stop while a reload opens the metrics leaves nothing open', options, async (t) => {
  const { host, write } = await withFile(t, disk('a', '8M'));
  const port = await freePort();
  write(`metrics = ${port}\n${disk('a', '8M')}`);
  const reloading = host.reloader.reload();
  await null;
  await null; // now it waits for the listener
  await host.stop();
  await reloading;
  assert.equal(host.metricsUrl, null);
  assert.equal(await statusOf(port), 0);
});

test('a reload of a host without configuration files is refused', options, async (t) => {
  const { control } = await live(t, {});
  await assert.rejects(askReload(control), {
    code: 'ERR_IO_UNSUPPORTED',
    message:
      'not reloaded: the host was started without --config and without TLS, so it has no files',
  });
});

test('reloads run one after another, and none during a stop', options, async (t) => {
  const { control, host, write } = await withFile(t, disk('a', '8M'));
  write(disk('a', '8M') + disk('b', '8M'));
  const reports = await Promise.all([askReload(control), askReload(control), askReload(control)]);
  assert.deepEqual(
    reports.flatMap(({ changed }) => changed),
    ['disk b: added'],
  );
  const stopped = host.stop();
  await assert.rejects(host.reloader.reload(), { code: 'ERR_IO_IN_USE', message: /is stopping/ });
  await stopped;
});
