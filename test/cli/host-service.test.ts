/** The host as a service of systemd: notifications, and sockets that it inherits. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { askDisks } from '../../src/host/control-client.ts';
import { noLinux } from '../os/linux/machine.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { RawSocket } from '../support/fixtures/raw-socket.ts';
import { until as waitUntil } from '../support/fixtures/until.ts';
import { type Run, sample, shipped, start, timeout, until } from './host-run.ts';

const skip = noLinux;

/** Starts a host with listening sockets as descriptors from 3 on, as systemd does. */
function startWith(
  t: TestContext,
  folder: string,
  sockets: readonly RawSocket[],
  argv: readonly string[],
): Run {
  const script = join(folder, 'activate.mjs');
  writeFileSync(
    script,
    `Object.assign(process.env, { LISTEN_FDS: '${sockets.length}', LISTEN_PID: process.pid });
    await import(${JSON.stringify(shipped)});`,
  );
  const descriptors = sockets.map(({ fd }) => fd);
  return start(t, script, argv, { LISTEN_FDNAMES: sockets.map(() => 'n').join(':') }, descriptors);
}

test('systemd is notified of the start, of the running loop and of the stop', {
  skip,
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const address = `@frontswap-host-${process.pid}`;
  using receiver = new RawSocket('datagram', address);
  const run = start(t, shipped, sample(folder), {
    NOTIFY_SOCKET: address,
    WATCHDOG_USEC: '50000',
  });
  const messages: string[] = [];
  await waitUntil('a watchdog message', () => {
    messages.push(...receiver.messages());
    return messages.includes('WATCHDOG=1\n');
  });
  assert.equal(messages[0], `READY=1\nSTATUS=serving NBD on ${folder}/s\n`);
  assert.equal((await askDisks(join(folder, 'c'))).disks.length, 1); // ready means that it serves
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  messages.push(...receiver.messages());
  const rest = messages.slice(1).filter((text) => text !== 'WATCHDOG=1\n');
  assert.deepEqual(rest, ['STOPPING=1\nSTATUS=answering requests in flight\n']);
  assert.equal(run.text.stderr, '');
});

test('a failure to notify is a log line; the host serves', { skip, timeout }, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, sample(folder), { NOTIFY_SOCKET: join(folder, 'missing') });
  await until(run, () => run.text.stderr !== '');
  assert.equal((await askDisks(join(folder, 'c'))).disks.length, 1);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  assert.match(
    run.text.stderr,
    /^(frontswap host: systemd is not notified: sendto .*ENOENT\n){2}$/,
  );
});

test('the variables are not passed to the command of --run', { skip, timeout }, async (t) => {
  const folder = testFolder(t);
  const file = join(folder, 'env');
  const run = start(t, shipped, ['host', '--run', `env > '${file}'`], {
    NOTIFY_SOCKET: join(folder, 'missing'),
    WATCHDOG_USEC: '30000000',
    WATCHDOG_PID: '1',
    LISTEN_FDS: '1',
    LISTEN_PID: '1',
    LISTEN_FDNAMES: 'nbd',
  });
  assert.equal(await run.ended, 0);
  assert.match(readFileSync(file, 'utf8'), /^exportname=/m);
  assert.doesNotMatch(readFileSync(file, 'utf8'), /^(LISTEN|NOTIFY|WATCHDOG)_/m);
  assert.match(run.text.stderr, /LISTEN_FDS is for process 1, not for this one/);
});

test('inherited sockets are the listeners, and their files stay', { skip, timeout }, async (t) => {
  const folder = testFolder(t);
  const path = join(folder, 'inherited');
  using unix = new RawSocket('stream', path).listen();
  using tcp = new RawSocket('stream', null).listen();
  const control = join(folder, 'c');
  const run = startWith(t, folder, [unix, tcp], ['host', '--control', control]);
  await until(run, () => run.text.stdout.split('\n').length === 3);
  const [first, second] = run.text.stdout.split('\n');
  assert.equal(first, `nbd+unix:///swap0?socket=${path}`);
  assert.match(second ?? '', /^nbd:\/\/127\.0\.0\.1:[1-9][0-9]*\/swap0$/);
  const uris = (await askDisks(control)).disks[0]?.uris.map((uri) => uri.replace(/@\w{8}/, ''));
  assert.deepEqual(uris, [first, second]);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  assert.ok(existsSync(path));
  assert.ok(!existsSync(control));
});

test('inherited sockets exclude the options of listeners', { skip, timeout }, async (t) => {
  const folder = testFolder(t);
  using unix = new RawSocket('stream', join(folder, 'inherited')).listen();
  const run = startWith(t, folder, [unix], sample(folder));
  assert.equal(await run.ended, 2);
  assert.match(
    run.text.stderr,
    /--unix and sockets of systemd \(LISTEN_FDS\) are mutually exclusive/,
  );
});

test('an inherited socket that does not listen is refused', { skip, timeout }, async (t) => {
  const folder = testFolder(t);
  using unix = new RawSocket('stream', join(folder, 'inherited'));
  const run = startWith(t, folder, [unix], ['host', '--no-control']);
  assert.equal(await run.ended, 2);
  assert.match(
    run.text.stderr,
    /LISTEN_FDS: descriptor 3 \('n'\) is a socket that does not listen/,
  );
});
