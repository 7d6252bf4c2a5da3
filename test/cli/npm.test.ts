/** Under npm: a signal to npm reaches the host, and one Ctrl-C counts once. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askDisks } from '../../src/host/control-client.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';
import { until as waitUntil } from '../support/fixtures/until.ts';
import { type Run, sample, shipped, start, timeout, until } from './host-run.ts';

const root = join(import.meta.dirname, '../../..');
const skip = spawnSync('npm', ['--version']).status === 0 ? false : 'npm is missing';

/** A package whose programs include this one, as built for tests, with a start script. */
function userPackage(t: TestContext): string {
  const folder = join(testFolder(t), 'user');
  const bin = join(folder, 'node_modules', '.bin');
  mkdirSync(bin, { recursive: true });
  symlinkSync(shipped, join(bin, 'frontswap'));
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const own = scripts.start.replace('dist/cli/main.js', shipped);
  assert.ok(own.includes(shipped), own);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ scripts: { start: own } }));
  return folder;
}

/** Starts a host under npm or npx, waits until it is ready, and returns its process id. */
async function underNpm(
  t: TestContext,
  program: readonly string[],
  argv: readonly string[],
): Promise<{ run: Run; hostPid: number }> {
  const [command = '', ...rest] = program;
  const cwd = userPackage(t);
  const child = spawn(command, [...rest, ...argv], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: cwd, npm_config_update_notifier: 'false' },
  });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (more: string) => {
      text[name] += more;
    });
  const ended = new Promise<number | string>((resolve) =>
    child.once('exit', (status, signal) => resolve(status ?? signal ?? 'nothing')),
  );
  const run = { child, text, ended };
  await until(run, () => text.stdout.includes('nbd+unix:'));
  const control = argv[argv.indexOf('--control') + 1] ?? '';
  const hostPid = (await askDisks(control)).disks[0]?.hostPid ?? 0;
  assert.ok(hostPid > 0);
  const kill = (): void => {
    child.kill('SIGKILL');
    try {
      process.kill(hostPid, 'SIGKILL');
    } catch {
      // It has ended, as it should.
    }
  };
  t.after(kill);
  t.signal.addEventListener('abort', kill);
  return { run, hostPid };
}

const programs: readonly (readonly [string, readonly string[]])[] = [
  ['npx', ['npx', '--no', '--', 'frontswap']],
  ['npm exec', ['npm', 'exec', '--no', '--', 'frontswap']],
];

for (const [name, program] of programs)
  test(`SIGTERM for ${name} ends the host cleanly`, { skip, timeout }, async (t) => {
    const folder = testFolder(t);
    const { run } = await underNpm(t, program, sample(folder));
    run.child.kill('SIGTERM');
    await run.ended;
    await waitUntil(
      'its sockets are removed',
      () => !['c', 's'].some((it) => existsSync(join(folder, it))),
    );
  });

test('SIGTERM for npm start ends the host cleanly', { skip, timeout }, async (t) => {
  const folder = testFolder(t);
  const argv = sample(folder).slice(1); // the script says `host`
  const { run } = await underNpm(t, ['npm', 'start', '--'], argv);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  assert.ok(!existsSync(join(folder, 's')));
});

test('when npx ends while a client has pages, the host stays until the client disconnects', {
  skip,
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const { run } = await underNpm(t, ['npx', '--no', '--', 'frontswap'], sample(folder));
  const client = await RawClient.open(join(folder, 's'), 'vm1');
  t.after(() => client[Symbol.dispose]());
  assert.equal(await client.write(0, Buffer.alloc(4096, 'a page of the guest')), 0);
  run.child.kill('SIGTERM');
  await waitUntil('the host logs why it continues', () =>
    run.text.stderr.includes('npx has ended, but clients use vm1 (4K of pages'),
  );
  assert.equal((await askDisks(join(folder, 'c'))).disks[0]?.storedPages, 1);
  client[Symbol.dispose]();
  await waitUntil('the host has stopped', () => !existsSync(join(folder, 's')));
});

/** The clock of the host stands still until `later` exists, so a slow machine adds no pause between two signals. */
const clockOf = (later: string): string => `
import { existsSync } from 'node:fs';
const now = () => (existsSync(${JSON.stringify(later)}) ? 20_000 : 10_000);
Object.defineProperty(performance, 'now', { value: now });
`;

/** Ctrl-C twice, with a pause longer than npm needs to forward one. */
const interruptions: readonly (readonly [string, Record<string, string>, boolean])[] = [
  [
    'under npm a second SIGINT right behind the first is the same Ctrl-C',
    { npm_lifecycle_event: 'start' },
    true,
  ],
  ['without npm it is a second one', {}, false],
];
for (const [what, env, isSame] of interruptions)
  test(what, { timeout }, async (t) => {
    const folder = testFolder(t);
    const [clock, later] = [join(folder, 'clock.mjs'), join(folder, 'later')];
    writeFileSync(clock, clockOf(later));
    const run = start(t, shipped, sample(folder), { NODE_OPTIONS: `--import=${clock}`, ...env });
    await until(run, () => run.text.stdout !== '');
    const client = await RawClient.open(join(folder, 's'), 'vm1');
    t.after(() => client[Symbol.dispose]());
    assert.equal(await client.write(0, Buffer.alloc(4096, 'a page of the guest')), 0);
    run.child.kill('SIGINT');
    await until(run, () => run.text.stderr.includes('not stopped'));
    run.child.kill('SIGINT');
    if (isSame) {
      await sleep(200);
      assert.equal((await askDisks(join(folder, 'c'))).disks[0]?.storedPages, 1);
      writeFileSync(later, '');
      run.child.kill('SIGINT');
    }
    assert.equal(await run.ended, 0);
    assert.match(run.text.stderr, /these pages are lost: vm1/);
  });

test('a host started by a program under npx survives that program', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const env = { npm_command: 'exec', npm_lifecycle_event: 'npx' };
  const words = [process.execPath, shipped, ...sample(folder)].map((word) => `'${word}'`);
  // The shell runs until the host is ready and has checked its parent.
  const ready = `until [ -e '${folder}/c' ]; do sleep 0.1; done; sleep 1`;
  const script = `${words.join(' ')} > '${folder}/out' 2>&1 & ${ready}`;
  spawnSync('/bin/sh', ['-c', script], { env: { PATH: process.env['PATH'], ...env } });
  await waitUntil('it is ready', () => existsSync(join(folder, 'c')));
  const pid = (await askDisks(join(folder, 'c'))).disks[0]?.hostPid ?? 0;
  t.after(() => process.kill(pid, 'SIGTERM'));
  await sleep(1500); // three checks of the parent
  assert.equal((await askDisks(join(folder, 'c'))).disks.length, 1);
});
