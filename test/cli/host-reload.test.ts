/** `frontswap host -C FILE` as a process: SIGHUP, `frontswap reload`, notifications of systemd, and --check. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { askDisks } from '../../src/host/control-client.ts';
import { noLinux } from '../os/linux/machine.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';
import { RawSocket } from '../support/fixtures/raw-socket.ts';
import { until as waitUntil } from '../support/fixtures/until.ts';
import { type Run, shipped, start, timeout, until } from './host-run.ts';

interface Service {
  readonly folder: string;
  readonly file: string;
  readonly run: Run;
  write(disks: string): void;
  names(): Promise<string>;
}

async function service(
  t: TestContext,
  env: Record<string, string> = {},
  ...argv: string[]
): Promise<Service> {
  const folder = testFolder(t);
  const file = join(folder, 'host.toml');
  const write = (disks: string): void =>
    writeFileSync(file, `unix = '${folder}/s'\ncontrol = '${folder}/c'\n${disks}`);
  write('[disks.a]\nsize = "4M"\n');
  const run = start(t, shipped, ['host', '-C', file, ...argv], env);
  await until(run, () => run.text.stdout !== '');
  const names = async (): Promise<string> =>
    (await askDisks(join(folder, 'c'))).disks.map(({ name }) => name).join();
  return { folder, file, run, write, names };
}

const command = async (t: TestContext, ...argv: string[]): Promise<Run & { status: unknown }> => {
  const run = start(t, shipped, argv);
  const status = await run.ended;
  return { ...run, status };
};

test('SIGHUP applies a changed file; a client stays connected', { timeout }, async (t) => {
  const { folder, run, write, names } = await service(t);
  using client = await RawClient.open(join(folder, 's'), 'a');
  const page = Buffer.alloc(4096, 'page');
  assert.equal(await client.write(0, page), 0);
  write('[disks.a]\nsize = "4M"\nrate = "1G"\n[disks.b]\nsize = "4M"\n');
  run.child.kill('SIGHUP');
  await until(run, () => run.text.stderr.includes('reload: 2 changes, 0 not done'));
  assert.match(run.text.stderr, /^frontswap host: disk a: rate changed$/m);
  assert.equal(await names(), 'a,b');
  assert.ok(page.equals(await client.pread(0, 4096)));
  write(
    'socket-mode = "0666"\ntotal-limit = "1M"\n[disks.a]\nsize = "4M"\nrate = "1G"\n[disks.b]\nsize = "4M"\n',
  );
  run.child.kill('SIGHUP');
  await until(run, () => run.text.stderr.includes('every user of this machine'));
  assert.match(
    run.text.stderr,
    /warning: the limits of the disks add up to 2M, more than the total/,
  );
  write('prot = 1\n');
  run.child.kill('SIGHUP');
  await until(run, () => run.text.stderr.includes('nothing was changed'));
  assert.match(
    run.text.stderr,
    /reload: nothing was changed: .*host.toml:3: prot: unknown setting 'prot'; did you mean 'port'/,
  );
  assert.equal(await names(), 'a,b');
  assert.ok(page.equals(await client.pread(0, 4096)));
});

test('errors of a reload are printed with --quiet, changes are not', { timeout }, async (t) => {
  // --quiet prints no URI: the control socket is opened last.
  const folder = testFolder(t);
  const file = join(folder, 'h.toml');
  writeFileSync(file, `control = '${folder}/c'\nunix = '${folder}/s'\nport = 0`);
  const run = start(t, shipped, ['host', '-q', '-C', file]);
  await until(run, () => existsSync(join(folder, 'c')));
  writeFileSync(
    file,
    `control = '${folder}/c'\n[disks.b]\nsize = "1M"\n[disks.swap0]\nsize = "2G"`,
  );
  const { status } = await command(t, 'reload', '--control', join(folder, 'c'));
  assert.equal(status, 0);
  writeFileSync(file, 'wrong');
  run.child.kill('SIGHUP');
  await until(run, () => run.text.stderr !== '');
  assert.match(run.text.stderr, /^frontswap host: reload: nothing was changed: .*h.toml:1: .*\n$/);
});

test('frontswap reload prints what was done, refused and ignored', { timeout }, async (t) => {
  const { folder, write } = await service(t);
  const reload = (...argv: string[]) =>
    command(t, 'reload', '--control', join(folder, 'c'), ...argv);
  const same = await reload();
  assert.deepEqual([same.status, same.text.stdout], [0, 'nothing has changed\n']);
  using client = await RawClient.open(join(folder, 's'), 'a');
  assert.equal(await client.write(0, Buffer.alloc(4096, 1)), 0);
  write('port = 0\n[disks.b]\nsize = "4M"\n');
  const first = await reload();
  assert.equal(first.status, 1);
  assert.equal(first.text.stdout, 'disk b: added\n');
  assert.match(
    first.text.stderr,
    /^frontswap reload: not done: disk 'a' is in use .*\nfrontswap reload: warning: port or ipaddr: is read only at a start.*\n$/,
  );
  const json = await reload('--json');
  const { schemaVersion, changed, failed, ignored } = JSON.parse(json.text.stdout);
  assert.deepEqual([schemaVersion, changed, failed.length, ignored.length], [1, [], 1, 1]);
  const quiet = await reload('--quiet');
  assert.deepEqual([quiet.status, quiet.text.stdout], [1, '']);
  assert.match(quiet.text.stderr, /^frontswap reload: not done: disk 'a' is in use .*\n$/);
  write('[disks.a]\nsize = "4M"\n[disks.b]\nsize = "4M"\nrate = "1M"\n');
  for (const expected of ['disk b: rate changed', 'nothing has changed']) {
    const { status, text } = await reload('--quiet');
    assert.deepEqual([status, text], [0, { stdout: '', stderr: '' }], expected);
  }
  write('prot = 1\n[disks.b]\n');
  const wrong = await reload();
  assert.equal(wrong.status, 2);
  assert.match(
    wrong.text.stderr,
    /2 errors in the configuration:\n {2}.*:3: prot: .*\n {2}.*:4: disks.b: size/,
  );
});

test('systemd is notified of the beginning and the end of a reload', {
  skip: noLinux,
  timeout,
}, async (t) => {
  const address = `@frontswap-reload-${process.pid}`;
  using receiver = new RawSocket('datagram', address);
  const { folder, run, write } = await service(t, { NOTIFY_SOCKET: address });
  const ready = `READY=1\nSTATUS=serving NBD on ${folder}/s\n`;
  const messages: string[] = [];
  const wait = (count: number): Promise<void> =>
    waitUntil(`${count} messages`, () => {
      messages.push(...receiver.messages());
      return messages.length >= count;
    });
  await wait(1);
  const before = process.hrtime.bigint() / 1000n;
  run.child.kill('SIGHUP');
  await wait(3);
  write('wrong');
  run.child.kill('SIGHUP');
  await wait(5);
  const after = process.hrtime.bigint() / 1000n;
  assert.deepEqual([messages[0], messages[2], messages[4]], [ready, ready, ready]);
  for (const text of [messages[1], messages[3]]) {
    const time = BigInt(/^RELOADING=1\nMONOTONIC_USEC=(\d+)\n$/.exec(text ?? '')?.[1] ?? 0);
    assert.ok(before <= time && time <= after, text);
  }
});

test('--check --json prints the configuration of all sources', { timeout }, async (t) => {
  const folder = testFolder(t);
  const file = join(folder, 'h.toml');
  writeFileSync(file, `unix = '${folder}/s'\ncontrol = '${folder}/c'\n[disks.a]\nsize = "1M"`);
  mkdirSync(`${file}.d`);
  writeFileSync(join(`${file}.d`, '1.toml'), '[disks.a]\nkeep = 7');
  const check = await command(t, 'host', '-C', file, '--check', '--json', '--max-clients', '3');
  assert.equal(check.status, 0, check.text.stderr);
  const { schemaVersion, config } = JSON.parse(check.text.stdout);
  assert.equal(schemaVersion, 1);
  assert.deepEqual(config.disks, [
    {
      ...{ name: 'a', sizeBytes: 2 ** 20, limitBytes: 0 },
      ...{ isShared: false, keepSeconds: 7, rateBytes: 0 },
    },
  ]);
  assert.deepEqual([config.unix, config.maxClients], [join(folder, 's'), 3]);
  // It is printed, and checked like without --json.
  const argv = ['host', '-C', file, '--check', '--json', '--pidfile', join(folder, 'no/pid')];
  const failing = await command(t, ...argv);
  assert.equal(failing.status, 1);
  assert.equal(JSON.parse(failing.text.stdout).config.pidFile, join(folder, 'no/pid'));
  assert.match(failing.text.stderr, /cannot write .*no\/pid.*--pidfile/);
});
