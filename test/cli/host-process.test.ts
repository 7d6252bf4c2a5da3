/**
 * The host as a process: its output, the files that it leaves, its exit. The program is the shipped one; if a test
 * needs a slow NBD server, or one that logs, it is the same program with stand-in parts.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { askDisks } from '../../src/host/control-client.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';
import { until as waitUntil } from '../support/fixtures/until.ts';
import {
  lineCount,
  post,
  type Run,
  sample,
  shipped,
  standIn,
  start,
  timeout,
  until,
} from './host-run.ts';

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`one line per listener when ready; ${signal} stops the host cleanly`, {
    timeout,
  }, async (t) => {
    const folder = testFolder(t);
    const pid = join(folder, 'pid');
    const run = start(t, shipped, [...sample(folder), '-p', '0', '-P', pid]);
    await until(run, () => lineCount(run.text.stdout) === 2);
    const [unix, tcp] = run.text.stdout.split('\n');
    assert.equal(unix, `nbd+unix:///vm1?socket=${folder}/s`);
    assert.match(tcp ?? '', /^nbd:\/\/127\.0\.0\.1:[1-9][0-9]*\/vm1$/);
    assert.equal(readFileSync(pid, 'utf8'), `${run.child.pid}\n`);
    const [disk] = (await askDisks(join(folder, 'c'))).disks;
    assert.deepEqual([disk?.name, disk?.diskSizeBytes], ['vm1', 64 << 20]);
    // The names that list and attach print contain the generation of this start.
    const bare = disk?.uris.map((uri) => uri.replace(/@[0-9a-f]{8}/, ''));
    assert.deepEqual(bare, [unix, tcp]);
    assert.match(disk?.uris[0] ?? '', /^nbd\+unix:\/\/\/vm1@[0-9a-f]{8}\?/);
    run.child.kill(signal);
    assert.equal(await run.ended, 0);
    assert.equal(run.text.stderr, '');
    assert.equal(lineCount(run.text.stdout), 2);
    assert.deepEqual(readdirSync(folder), []);
  });

test('--socket-mode opens the NBD socket to a group, not the control socket', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const mode = (name: string): number => statSync(join(folder, name)).mode & 0o777;
  const run = start(t, shipped, [...sample(folder), '--socket-mode', '0660']);
  await until(run, () => run.text.stdout !== '');
  assert.deepEqual([mode('s'), mode('c')], [0o660, 0o600]);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  assert.equal(run.text.stderr, '');
  const open = start(t, shipped, [...sample(folder), '--socket-mode', '666']);
  await until(open, () => open.text.stdout !== '');
  assert.match(open.text.stderr, /warning: every user of this machine .* --socket-mode 0660/);
});

test('a host warns of a network address unless clients must authenticate, and of a socket open to all unless every disk has an access list', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const keys = join(folder, 'keys');
  writeFileSync(keys, `a:${'ab'.repeat(32)}\n`, { mode: 0o600 });
  const warningOf = async (...args: string[]): Promise<string> => {
    const control = ['--control', join(folder, 'c'), '-U', join(folder, 's')];
    const run = start(t, shipped, ['host', ...control, ...args]);
    await until(run, () => run.text.stdout !== '');
    run.child.kill('SIGTERM');
    assert.equal(await run.ended, 0);
    return run.text.stderr;
  };
  const network = ['-i', '0.0.0.0', '-p', '0'];
  assert.match(await warningOf(...network), /there is no password and no encryption/);
  const on = await warningOf(...network, '--tls=on', '--tls-psk', keys);
  assert.match(on, /with --tls=on a client may connect without TLS; use --tls=require/);
  assert.equal(await warningOf(...network, '--tls=require', '--tls-psk', keys), '');
  const open = ['--socket-mode', '666', '--disk', 'a=1M,allow-uid=1'];
  assert.equal(await warningOf(...open), '');
  assert.match(await warningOf(...open, '--disk', 'b=1M'), /warning: every user of this machine/);
});

test('POST /v1/stop stops the host cleanly', { timeout }, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, sample(folder));
  await until(run, () => run.text.stdout !== '');
  assert.equal(await post(join(folder, 'c'), '/v1/stop'), 202);
  assert.equal(await run.ended, 0);
  assert.deepEqual(readdirSync(folder), []);
});

test('USR1 prints statistics and the host continues', { timeout }, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, sample(folder));
  await until(run, () => run.text.stdout !== '');
  run.child.kill('SIGUSR1');
  await until(run, () => run.text.stderr.includes('stoppedDisks'));
  assert.match(
    run.text.stderr,
    /^NAME +ALGORITHM +DISKSIZE .*\nvm1 +lz4 +64M .*\n0 requests controlRequests/,
  );
  assert.doesNotMatch(run.text.stderr, /[Dd]ebugger/);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
});

test('HUP and USR2 are ignored from the first line of output on', { timeout }, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, sample(folder));
  await until(run, () => run.text.stdout !== '');
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const) {
    run.child.kill(signal);
    await until(run, () => run.text.stderr.includes(`${signal}: ignored`));
  }
  assert.equal((await askDisks(join(folder, 'c'))).disks.length, 1);
  run.child.kill('SIGQUIT');
  assert.equal(await run.ended, 0);
  assert.deepEqual(readdirSync(folder), []);
});

test('signals before the host runs neither end it nor open a debugger', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, sample(folder));
  // As soon as Node has started: a handler appears in the mask of caught signals.
  const caught = (signal: number): boolean => {
    const mask = /SigCgt:\t([0-9a-f]+)/.exec(readFileSync(`/proc/${run.child.pid}/status`, 'utf8'));
    return (BigInt(`0x${mask?.[1] ?? 0}`) & (1n << BigInt(signal - 1))) !== 0n;
  };
  await until(run, () => caught(constants.signals.SIGHUP) && caught(constants.signals.SIGUSR2));
  for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) run.child.kill(signal);
  await until(run, () => run.text.stdout !== '');
  assert.doesNotMatch(run.text.stderr, /[Dd]ebugger/);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
});

test('--json prints one line when the host is ready, -q none', { timeout }, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, [...sample(folder), '--json']);
  await until(run, () => lineCount(run.text.stdout) === 1);
  assert.deepEqual(JSON.parse(run.text.stdout), {
    schemaVersion: 1,
    pid: run.child.pid,
    uris: [`nbd+unix:///vm1?socket=${folder}/s`],
    control: join(folder, 'c'),
    metrics: null,
    dashboard: null,
  });
  run.child.kill('SIGTERM');
  await run.ended;
  const quiet = start(t, shipped, [...sample(folder), '-q']);
  await until(quiet, () => existsSync(join(folder, 'c')));
  quiet.child.kill('SIGTERM');
  assert.equal(await quiet.ended, 0);
  assert.deepEqual(quiet.text, { stdout: '', stderr: '' });
});

test('after kill -9 the next host takes the same paths', { timeout }, async (t) => {
  const folder = testFolder(t);
  const first = start(t, shipped, sample(folder));
  await until(first, () => first.text.stdout !== '');
  const rival = start(t, shipped, sample(folder));
  assert.equal(await rival.ended, 1);
  assert.match(rival.text.stderr, /--unix: .*\/s is in use by process \d+ \(.+\): stop it/);
  first.child.kill('SIGKILL');
  await first.ended;
  assert.deepEqual(readdirSync(folder).sort(), ['c', 's']);
  const second = start(t, shipped, sample(folder));
  await until(second, () => second.text.stdout !== '');
  second.child.kill('SIGTERM');
  assert.equal(await second.ended, 0);
  assert.deepEqual(readdirSync(folder), []);
});

/** NAME@GENERATION of the first disk, as list prints it. */
async function nameNow(control: string): Promise<string> {
  const uri = (await askDisks(control)).disks[0]?.uris[0] ?? '';
  return decodeURIComponent(new URL(uri).pathname.slice(1));
}

test('the name of list is refused after a restart, because the disk is empty', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const [socket, control] = [join(folder, 's'), join(folder, 'c')];
  const first = start(t, shipped, sample(folder));
  await until(first, () => first.text.stdout !== '');
  const before = await nameNow(control);
  (await RawClient.open(socket, before))[Symbol.dispose]();
  first.child.kill('SIGKILL');
  await first.ended;
  const second = start(t, shipped, sample(folder));
  await until(second, () => second.text.stdout !== '');
  await assert.rejects(RawClient.open(socket, before), /the server refuses 'vm1@/);
  for (const name of [await nameNow(control), 'vm1', ''])
    (await RawClient.open(socket, name))[Symbol.dispose]();
  second.child.kill('SIGTERM');
  assert.equal(await second.ended, 0);
});

test('a reset disk is empty for the next guest, and its old name is refused', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const [socket, control] = [join(folder, 's'), join(folder, 'c')];
  const run = start(t, shipped, sample(folder));
  await until(run, () => run.text.stdout !== '');
  const reset = (...args: string[]): ReturnType<typeof start> =>
    start(t, shipped, ['reset', '--control', control, ...args]);
  const before = await nameNow(control);
  const client = await RawClient.open(socket, before);
  await client.write(0, Buffer.alloc(4096, 7));
  const refused = reset('vm1');
  assert.equal(await refused.ended, 1);
  assert.match(refused.text.stderr, /disk 'vm1' is in use \(1 connection\)/);
  client[Symbol.dispose]();
  const forced = reset('--force', '--json', 'vm1');
  assert.equal(await forced.ended, 0, forced.text.stderr);
  assert.deepEqual(JSON.parse(forced.text.stdout), {
    schemaVersion: 1,
    disk: 'vm1',
    droppedBytes: 4096,
  });
  await assert.rejects(RawClient.open(socket, before), /the server refuses 'vm1@/);
  using next = await RawClient.open(socket, await nameNow(control));
  assert.deepEqual(await next.pread(0, 4096), Buffer.alloc(4096));
  const unknown = reset('vm2');
  assert.equal(await unknown.ended, 2);
  assert.match(unknown.text.stderr, /no disk 'vm2'/);
});

test('a closed stdout does not crash the host', { timeout }, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, sample(folder));
  run.child.stdout?.destroy();
  await until(run, () => existsSync(join(folder, 'c')));
  await askDisks(join(folder, 'c'));
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  assert.equal(run.text.stderr, '');
});

test('for a port in use the host exits 1 and names the port and the option', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.after(() => other.close());
  const address = other.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const run = start(t, shipped, [...sample(folder), '-p', String(port)]);
  assert.equal(await run.ended, 1);
  assert.match(
    run.text.stderr,
    new RegExp(`^frontswap host: error: port ${port} on 127.0.0.1 is in use; .*--port`),
  );
  assert.deepEqual(readdirSync(folder), []);
});

test('a second host on the same pid file is refused, and the first one keeps it', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const pid = join(folder, 'pid');
  const argv = (socket: string): string[] => [
    ...['host', '-U', join(folder, socket), '--no-control', '-P', pid],
  ];
  const first = start(t, standIn, argv('s'));
  await until(first, () => first.text.stdout !== '');
  const second = start(t, standIn, argv('t'));
  assert.equal(await second.ended, 1);
  assert.match(
    second.text.stderr,
    new RegExp(
      `--pidfile: ${pid} belongs to process ${first.child.pid} \\(.+\\), which is running`,
    ),
  );
  const check = start(t, shipped, [...argv('t'), '--check']);
  assert.equal(await check.ended, 1);
  assert.equal(readFileSync(pid, 'utf8'), `${first.child.pid}\n`);
  first.child.kill('SIGKILL');
  await first.ended;
  const third = start(t, standIn, argv('s'));
  await until(third, () => third.text.stdout !== '');
  third.child.kill('SIGTERM');
  assert.equal(await third.ended, 0);
  assert.deepEqual(readdirSync(folder), []);
});

test('the next host removes the files of a killed one from the runtime folder, and nothing else', {
  timeout,
}, async (t) => {
  const home = testFolder(t);
  const root = process.getuid?.() === 0;
  const base = root ? '/run/frontswap' : join(home, 'frontswap');
  const argv = ['host', '-U', '-', '--no-control'];
  const ownFolder = (run: Run): string => /socket=(.*)\/nbd\.sock/.exec(run.text.stdout)?.[1] ?? '';
  const runs = [0, 1, 2].map(() => start(t, standIn, argv, { XDG_RUNTIME_DIR: home }));
  for (const run of runs) await until(run, () => run.text.stdout !== '');
  const [alive, killed, strange] = runs.map(ownFolder);
  assert.ok(alive?.startsWith(`${base}/host-`), alive);
  writeFileSync(join(strange ?? '', 'something'), '');
  for (const run of runs.slice(1)) run.child.kill('SIGKILL');
  for (const run of runs.slice(1)) await run.ended;
  const next = start(t, standIn, argv, { XDG_RUNTIME_DIR: home });
  await until(next, () => next.text.stdout !== '');
  assert.deepEqual(
    [alive, killed, strange].map((path) => existsSync(path ?? '')),
    [true, false, true],
  );
  rmSync(strange ?? '', { recursive: true });
  for (const run of [runs[0], next]) run?.child.kill('SIGTERM');
  assert.equal(await next.ended, 0);
});

test('--run passes variables to the command and returns its status', { timeout }, async (t) => {
  const folder = testFolder(t);
  const command = 'echo "$uri $nbd $unixsocket [$port] $exportname"; exit 5';
  const run = start(t, shipped, [...sample(folder), '--run', command]);
  assert.equal(await run.ended, 5);
  const socket = `${folder}/s`;
  assert.deepEqual(run.text, {
    stdout: `nbd+unix:///vm1?socket=${socket} nbd:unix:${socket} ${socket} [] vm1\n`,
    stderr: '',
  });
  assert.deepEqual(readdirSync(folder), []);
});

test('the command of --run has frontswap in its PATH, and list finds the host', {
  timeout,
}, async (t) => {
  const list = 'frontswap list -n -o NAME,DISKSIZE';
  const run = start(t, shipped, [...sample(testFolder(t)), '--run', list]);
  assert.equal(await run.ended, 0);
  assert.equal(run.text.stdout, 'vm1 64M\n');
});

test('a stop terminates the command of --run first', { timeout }, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, [...sample(folder), '--run', 'echo up; exec sleep 60']);
  await until(run, () => run.text.stdout === 'up\n');
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 143);
  assert.deepEqual(readdirSync(folder), []);
});

test('the command of --run survives a killed host', { timeout }, async (t) => {
  const command = 'trap "echo alive; exit" USR1; echo $$; for i in $(seq 600); do sleep 0.1; done';
  const run = start(t, shipped, [...sample(testFolder(t)), '--run', command]);
  await until(run, () => run.text.stdout.endsWith('\n'));
  const pid = Number(run.text.stdout);
  run.child.kill('SIGKILL');
  await once(run.child, 'exit');
  process.kill(pid, 'SIGUSR1');
  assert.equal(await run.ended, 'SIGKILL');
  assert.equal(run.text.stdout, `${pid}\nalive\n`);
});

const hasSetpriv = spawnSync('setpriv', ['--pdeathsig', 'TERM', 'true']).status === 0;

test('with setpriv --pdeathsig the command of --run ends with a killed host', {
  timeout,
  skip: hasSetpriv ? false : 'needs setpriv of util-linux',
}, async (t) => {
  // The kernel may send the signal for several threads of the host.
  const command = `exec setpriv --pdeathsig TERM sh -c 'trap "trap : TERM; echo asked; exit" TERM; echo up; for i in $(seq 600); do sleep 0.1; done'`;
  const run = start(t, shipped, [...sample(testFolder(t)), '--run', command]);
  await until(run, () => run.text.stdout === 'up\n');
  run.child.kill('SIGKILL');
  assert.equal(await run.ended, 'SIGKILL', 'no process has its output open');
  assert.equal(run.text.stdout, 'up\nasked\n');
});

test('flags override the configuration file', { timeout }, async (t) => {
  const folder = testFolder(t);
  const file = join(folder, 'host.toml');
  const document = `unix = '${folder}/x'\ncontrol = '${folder}/c'\n[disks.a]\nsize = '1M'\n`;
  writeFileSync(file, document);
  const run = start(t, shipped, ['host', '-C', file, '-U', join(folder, 's')]);
  await until(run, () => run.text.stdout !== '');
  assert.equal(run.text.stdout, `nbd+unix:///a?socket=${folder}/s\n`);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  writeFileSync(file, `exportnam = 'a'\n${document}`);
  const wrong = start(t, shipped, ['host', '-C', file, '--check']);
  assert.equal(await wrong.ended, 2);
  assert.match(
    wrong.text.stderr,
    /host.toml:1: exportnam: unknown setting 'exportnam'; did you mean 'exportname'/,
  );
});

test('on a terminal: a status line, erased at the end', { timeout }, async (t) => {
  if (spawnSync('script', ['--version']).status !== 0) return t.skip('script(1) is not installed');
  const folder = testFolder(t);
  const words = [process.execPath, shipped, ...sample(folder)].map((word) => `'${word}'`);
  const child = spawn('script', ['-qefc', words.join(' '), '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env['PATH'] ?? '', TERM: 'xterm' },
  });
  t.after(() => child.kill('SIGKILL'));
  let shown = '';
  child.stdout.setEncoding('utf8').on('data', (more: string) => {
    shown += more;
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  const lines = (): number => shown.split('\r\x1b[K1 disk  stored ').length - 1;
  await waitUntil('two status lines', () => lines() >= 2);
  assert.equal(await post(join(folder, 'c'), '/v1/stop'), 202);
  assert.equal(await ended, 0);
  assert.ok(shown.endsWith('\r\x1b[K'), JSON.stringify(shown));
});

test('a second signal ends the host at once, with its status, and removes the files', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const argv = ['host', '-U', join(folder, 's'), '--control', join(folder, 'c')];
  const run = start(t, standIn, argv, { STAND_IN_CLOSE_MS: '60000' });
  await until(run, () => run.text.stdout !== '');
  run.child.kill('SIGTERM');
  // The control socket closes first: once it is removed the stop has begun.
  await until(run, () => !existsSync(join(folder, 'c')));
  run.child.kill('SIGINT');
  assert.equal(await run.ended, 130);
  assert.deepEqual(readdirSync(folder), []);
});

test('-v logs connections on stderr; without it nothing is logged', {
  timeout,
}, async (t) => {
  const visit = async (run: Run, path: string): Promise<void> => {
    await until(run, () => run.text.stdout !== '');
    const client = connect(path);
    client.once('data', () => client.end());
    await once(client, 'close');
    run.child.kill('SIGTERM');
    assert.equal(await run.ended, 0);
  };
  const path = join(testFolder(t), 's');
  const argv = ['host', '-U', path, '--no-control'];
  const verbose = start(t, shipped, [...argv, '-v']);
  await visit(verbose, path);
  const line = 'frontswap host: nbd: unix client 1';
  assert.equal(verbose.text.stderr, `${line}: connected\n${line}: closed\n`);
  const plain = start(t, shipped, argv);
  await visit(plain, path);
  assert.equal(plain.text.stderr, '');
});

test('a host warns of a listener that other machines can reach', { timeout }, async (t) => {
  const run = start(t, standIn, ['host', '-i', '0.0.0.0', '-p', '0', '--no-control']);
  await until(run, () => run.text.stdout !== '');
  assert.match(run.text.stderr, /^frontswap host: warning: anyone who can reach 0\.0\.0\.0 port/);
  assert.match(run.text.stdout, /^nbd:\/\/127\.0\.0\.1:/);
});

test('commands without sockets load no network code', () => {
  const look = "process.on('exit', () => console.error(process.moduleLoadList.join()))";
  const argv = ['--import', `data:text/javascript,${encodeURIComponent(look)}`, shipped, 'version'];
  const { stderr, status } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
  assert.equal(status, 0);
  assert.match(stderr, /NativeModule util/);
  assert.doesNotMatch(stderr, /NativeModule http,/);
});
