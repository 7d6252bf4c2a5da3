/**
 * Several hosts of one user: each has its own name, and list, attach, reset and stop find the right one.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { testFolder } from '../support/fixtures/folder.ts';
import { cli, type Result } from './fake-world.ts';
import { lineCount, type Run, standIn, start, timeout, until } from './host-run.ts';

/** A host with only these arguments, in a runtime folder of the test. */
async function host(t: TestContext, runtimeFolder: string, ...argv: string[]): Promise<Run> {
  const run = start(t, standIn, ['host', ...argv], { STAND_IN_FOLDER: runtimeFolder });
  await until(run, () => lineCount(run.text.stdout) >= (argv.includes('-U') ? 1 : 2));
  return run;
}

const portOf = ({ text }: Run): number =>
  Number(/^nbd:\/\/127\.0\.0\.1:(\d+)\//m.exec(text.stdout)?.[1]);

/** Two hosts on a Unix socket only, with the disks a, b and c, b. */
async function twoHosts(t: TestContext): Promise<{ runs: readonly [Run, Run]; folder: string }> {
  const folder = join(testFolder(t), 'run');
  const disks = (...names: string[]): string[] => names.flatMap((name) => ['--disk', `${name}=1M`]);
  const first = await host(t, folder, '-U', '-', ...disks('a', 'b'));
  const second = await host(t, folder, '-U', '-', ...disks('c', 'b'));
  return { runs: [first, second], folder };
}

test('a second host needs no flag: it takes the next port and control socket, and logs them', {
  timeout,
}, async (t) => {
  const folder = join(testFolder(t), 'run');
  const first = await host(t, folder);
  const second = await host(t, folder);
  const port = portOf(second);
  assert.ok(port > portOf(first), `${portOf(first)}, ${port}`);
  assert.deepEqual(second.text.stderr.split('\n'), [
    `frontswap host: port 10809 on 127.0.0.1 is in use: serving on port ${port}`,
    `frontswap host: the control socket ${folder}/control.sock is in use: listening on ${folder}/control-2.sock`,
    '',
  ]);
  const shared = readdirSync(folder).filter((name) => name.startsWith('control'));
  assert.deepEqual(shared.sort(), [
    'control-2.pid',
    'control-2.sock',
    'control.pid',
    'control.sock',
  ]);
  assert.equal(readFileSync(join(folder, 'control.pid'), 'utf8'), `${first.child.pid}\n`);
  assert.equal(readFileSync(join(folder, 'control-2.pid'), 'utf8'), `${second.child.pid}\n`);
  const check = start(t, standIn, ['host', '--check'], { STAND_IN_FOLDER: folder });
  assert.equal(await check.ended, 0);
  assert.equal(check.text.stderr, 'frontswap host: the configuration is usable\n');
  // The first name is free again, the second host keeps its own.
  first.child.kill('SIGTERM');
  assert.equal(await first.ended, 0);
  const third = await host(t, folder, '-U', '-');
  assert.equal(third.text.stderr, '');
  for (const run of [second, third]) {
    run.child.kill('SIGTERM');
    assert.equal(await run.ended, 0);
  }
  assert.deepEqual(readdirSync(folder), []);
});

test('hosts that start at the same moment take different names', { timeout }, async (t) => {
  const folder = join(testFolder(t), 'run');
  const runs = await Promise.all([1, 2, 3, 4].map(() => host(t, folder, '-U', '-')));
  const { stdout } = await cli(['list', '-n', '-o', 'CONTROL,HOST'], { runtimeFolder: folder });
  assert.deepEqual(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/ +/)[0]),
    ['', '-2', '-3', '-4'].map((n) => join(folder, `control${n}.sock`)),
  );
  const pids = stdout
    .trim()
    .split('\n')
    .map((line) => Number(line.split(/ +/)[1]));
  assert.deepEqual(pids.sort(), runs.map(({ child }) => child.pid).sort());
});

test('the names of killed hosts are reused', { timeout }, async (t) => {
  const { runs, folder } = await twoHosts(t);
  for (const run of runs) {
    run.child.kill('SIGKILL');
    await run.ended;
  }
  assert.ok(existsSync(join(folder, 'control-2.sock')));
  const gone = await cli(['list'], { runtimeFolder: folder });
  assert.equal(gone.status, 3);
  assert.match(
    gone.stderr,
    /no host answers on .*\/control\.sock \(ECONNREFUSED\); start one with/,
  );
  const next = await host(t, folder, '-U', '-');
  assert.equal(next.text.stderr, '');
  const { status, stdout } = await cli(['list', '-n', '-o', 'CONTROL'], { runtimeFolder: folder });
  assert.deepEqual([status, stdout], [0, `${folder}/control.sock\n`]);
});

test('list shows the disks of all hosts, with the host beside each', { timeout }, async (t) => {
  const { runs, folder } = await twoHosts(t);
  const pids = runs.map(({ child }) => child.pid);
  const list = (...argv: string[]): Promise<Result> =>
    cli(['list', ...argv], { runtimeFolder: folder });
  const rows = (await list('--raw')).stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  const at = rows[0]?.indexOf('HOST') ?? 0;
  assert.deepEqual(
    rows.slice(1).map((row) => [row[0], Number(row[at])]),
    [
      ['a', pids[0]],
      ['b', pids[0]],
      ['c', pids[1]],
      ['b', pids[1]],
    ],
  );
  assert.equal((await list('-n', '-o', 'NAME', 'c', 'b')).stdout, 'c\nb\nb\n');
  const { disks } = JSON.parse((await list('--json')).stdout);
  assert.deepEqual(
    disks.map((disk: { hostControl: string }) => disk.hostControl),
    ['control.sock', 'control.sock', 'control-2.sock', 'control-2.sock'].map((it) =>
      join(folder, it),
    ),
  );
  const unknown = await list('other');
  assert.equal(unknown.status, 2);
  assert.match(unknown.stderr, /none of 2 hosts has a disk 'other'; available disks: a, b, c\n/);
  // With --control only this host is asked.
  const one = await list('--control', join(folder, 'control-2.sock'));
  assert.doesNotMatch(one.stdout, /HOST/);
  assert.equal(lineCount(one.stdout), 3);
});

test('attach, reset and stop find the host by the name of a disk', { timeout }, async (t) => {
  const { runs, folder } = await twoHosts(t);
  const run = (...argv: string[]): Promise<Result> => cli(argv, { runtimeFolder: folder });
  const socketOf = ({ text }: Run): string => /socket=(.*)/.exec(text.stdout)?.[1] ?? '-';
  for (const [at, name] of ['a', 'c'].entries())
    assert.ok((await run('attach', '-f', 'qemu', name)).stdout.includes(socketOf(runs[at] as Run)));
  assert.deepEqual(await run('reset', 'c', '-q'), {
    status: 0,
    stdout: 'disk c: 12K of pages dropped\n',
    stderr: '',
  });
  await until(runs[1], () => runs[1].text.stderr.includes('disk c: reset'));
  assert.doesNotMatch(runs[0].text.stderr, /reset/);
  const stopped = await run('stop', 'c');
  assert.equal(stopped.stdout, `host ${runs[1].child.pid}: stopped\n`);
  assert.equal(await runs[1].ended, 0);
  // One host is left, so no name is required.
  assert.equal((await run('stop')).stdout, `host ${runs[0].child.pid}: stopped\n`);
});

test('a disk name that two hosts have, or no name, is an error that lists the hosts', {
  timeout,
}, async (t) => {
  const { runs, folder } = await twoHosts(t);
  const [one, two] = runs.map(({ child }) => child.pid);
  const lines = `\n  process ${one} (${folder}/control.sock): a, b\n  process ${two} (${folder}/control-2.sock): c, b\n`;
  const asked: readonly (readonly [readonly string[], string])[] = [
    [
      ['attach', '-f', 'qemu', 'b'],
      "several hosts have a disk 'b'; choose the host with --control PATH:",
    ],
    [['attach', '-f', 'qemu'], 'NAME: choose a disk:'],
    [['reset', 'b'], "several hosts have a disk 'b'; choose the host with --control PATH:"],
    [['stop', 'b'], "several hosts have a disk 'b'; choose the host with --control PATH:"],
    [['stop'], 'there are several hosts; name a disk of the one you mean, or use --control PATH:'],
  ];
  for (const [argv, message] of asked) {
    const { status, stderr, stdout } = await cli(argv, { runtimeFolder: folder });
    assert.deepEqual([status, stdout], [2, ''], argv.join(' '));
    assert.ok(stderr.includes(message + lines), stderr);
  }
  const told = await cli(['stop', '--control', join(folder, 'control-2.sock')]);
  assert.equal(told.stdout, `host ${two}: stopped\n`);
});

test('a host with --run is found from outside, too', { timeout }, async (t) => {
  const folder = join(testFolder(t), 'run');
  const argv = ['host', '--disk', 'r=1M', '--run', 'echo up; exec sleep 60'];
  const run = start(t, standIn, argv, { STAND_IN_FOLDER: folder });
  await until(run, () => run.text.stdout === 'up\n');
  const list = ['list', '-n', '-o', 'NAME,CONTROL'];
  const { stdout } = await cli(list, { runtimeFolder: folder });
  assert.match(stdout, /^r +\/.*\/run\/host-\w{6}\/control\.sock\n$/);
  assert.equal((await cli(['stop', 'r'], { runtimeFolder: folder })).status, 0);
  assert.equal(await run.ended, 143);
});

test('a host that does not answer is reported, and stop does not treat the other one as the only one', {
  timeout,
}, async (t) => {
  const folder = join(testFolder(t), 'run');
  mkdirSync(folder, { mode: 0o700 });
  const broken = createServer((_, response) => response.end('no JSON'));
  await new Promise<void>((resolve) => broken.listen(join(folder, 'control.sock'), resolve));
  t.after(() => broken.close());
  const run = await host(t, folder, '-U', '-', '--disk', 'a=1M');
  const { status, stdout, stderr } = await cli(['list', '-n', '-o', 'NAME'], {
    runtimeFolder: folder,
  });
  assert.deepEqual([status, stdout], [0, 'a\n']);
  assert.match(
    stderr,
    /^frontswap list: warning: .*control\.sock does not answer like a frontswap host/,
  );
  const stop = await cli(['stop'], { runtimeFolder: folder });
  assert.equal(stop.status, 2);
  assert.match(
    stop.stderr,
    /several hosts; .*\n {2}process \d+ \(.*\): a\n {2}.*control\.sock does not answer like a frontswap host: .*\n/,
  );
  assert.equal((await cli(['stop', 'a'], { runtimeFolder: folder })).status, 0);
  assert.equal(await run.ended, 0);
});

test('files that are not sockets of a host are ignored', { timeout }, async (t) => {
  const folder = join(testFolder(t), 'run');
  mkdirSync(folder, { mode: 0o700 });
  writeFileSync(join(folder, 'control.sock'), 'mine');
  const run = await host(t, folder, '-U', '-');
  assert.match(
    run.text.stderr,
    /the control socket .*control\.sock is in use: listening on .*control-2\.sock\n$/,
  );
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  assert.deepEqual(readdirSync(folder), ['control.sock']);
  assert.equal(readFileSync(join(folder, 'control.sock'), 'utf8'), 'mine');
});
