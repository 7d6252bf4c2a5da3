/** LISTEN_FDS: which descriptors a host takes, and the errors of wrong variables. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { passedSockets, passedSocketWarnings } from '../../src/host/service-variables.ts';
import { noLinux } from '../os/linux/machine.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { configOf } from '../support/fixtures/host-config.ts';
import { RawSocket } from '../support/fixtures/raw-socket.ts';
import { rig, sample, socketTo, start } from './host-rig.ts';

const PID = 77;
const from = (env: Record<string, string>): unknown => passedSockets(env, PID, () => undefined);

test('without LISTEN_FDS, or for another process, there are no sockets', () => {
  const logged: string[] = [];
  const log = (line: string): void => void logged.push(line);
  assert.deepEqual(passedSockets({}, PID, log), []);
  assert.deepEqual(passedSockets({ LISTEN_PID: '77' }, PID, log), []);
  assert.deepEqual(logged, []);
  assert.deepEqual(passedSockets({ LISTEN_FDS: '1', LISTEN_PID: '78' }, PID, log), []);
  assert.match(logged.join(), /^LISTEN_FDS is for process 78, not for this one, 77/);
});

test('wrong variables are errors that name them', () => {
  const cases: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ LISTEN_FDS: '1' }, /^LISTEN_FDS is set without LISTEN_PID/],
    [{ LISTEN_FDS: '1', LISTEN_PID: '7x' }, /^LISTEN_PID: '7x' is not a process id/],
    [{ LISTEN_FDS: '0', LISTEN_PID: '77' }, /^LISTEN_FDS: '0' is not a number of sockets/],
    [{ LISTEN_FDS: '-1', LISTEN_PID: '77' }, /^LISTEN_FDS: '-1' is not a number of sockets/],
    [{ LISTEN_FDS: '1025', LISTEN_PID: '77' }, /^LISTEN_FDS: '1025' is not a number of sockets/],
    [
      { LISTEN_FDS: '2', LISTEN_PID: '77', LISTEN_FDNAMES: 'one' },
      /^LISTEN_FDNAMES: 'one' has 1 names, but LISTEN_FDS is 2/,
    ],
  ];
  for (const [env, message] of cases)
    assert.throws(() => from(env), { code: 'ERR_ARG_VALUE', message });
});

test('the error names a descriptor that is not a listening socket', { skip: noLinux }, () => {
  const env = { LISTEN_FDS: '1024', LISTEN_PID: '77' };
  assert.throws(() => from(env), {
    code: 'ERR_ARG_VALUE',
    message: /^LISTEN_FDS: descriptor \d+ is not .*; the \.socket unit needs ListenStream=/,
  });
  const names = Array.from({ length: 1024 }, (_, i) => `name${i}`).join(':');
  assert.throws(() => from({ ...env, LISTEN_FDNAMES: names }), {
    message: /^LISTEN_FDS: descriptor \d+ \('name\d+'\) is not /,
  });
});

test('passed sockets exclude the settings of listeners, and replace the defaults', () => {
  const config = (settings: Record<string, unknown>): ReturnType<typeof configOf> =>
    configOf(settings, { hasPassedSockets: true });
  const { unix, tcp } = config({});
  assert.deepEqual([unix, tcp], [null, null]);
  for (const [name, value] of [
    ['unix', '/s'],
    ['unix', '-'],
    ['port', 1],
    ['ipaddr', '::1'],
  ] as const)
    assert.throws(() => config({ [name]: value }), {
      code: 'ERR_ARG_CONFLICT',
      message: new RegExp(`^--${name} and sockets of systemd .* mutually exclusive`),
    });
  assert.throws(() => config({ 'socket-mode': '0660' }), { code: 'ERR_ARG_CONFLICT' });
});

test('a host serves passed sockets and leaves their files', { skip: noLinux }, async (t) => {
  const { unix: _, port: __, ...others } = sample;
  const { folder, options } = rig(t, { 'no-control': true, ...others });
  const path = join(folder, 'passed');
  const unix = new RawSocket('stream', path).listen(); // the host closes it
  const host = await start(t, {
    ...options,
    config: { ...options.config, unix: null, tcp: null },
    passedSockets: [{ fd: unix.fd, address: { kind: 'unix', path } }],
  });
  assert.deepEqual(host.uris, [`nbd+unix:///a?socket=${path}`]);
  (await socketTo(path)).destroy();
  await host.stop();
  assert.ok(existsSync(path));
});

test('a host warns of passed sockets that others can reach', { skip: noLinux }, (t) => {
  const path = join(testFolder(t), 's');
  using unix = new RawSocket('stream', path).listen();
  const warnings = (mode: number): string[] => {
    chmodSync(path, mode);
    return passedSocketWarnings(
      [{ fd: unix.fd, address: { kind: 'unix', path } }],
      'no encryption',
    );
  };
  assert.deepEqual(warnings(0o660), []);
  assert.match(warnings(0o666).join(), /every user of this machine .* SocketMode=0660/);
  const tcp = (host: string): string[] =>
    passedSocketWarnings([{ fd: 3, address: { kind: 'tcp', host, port: 1 } }], 'no encryption');
  assert.deepEqual(tcp('127.0.0.1'), []);
  assert.match(tcp('::').join(), /anyone who can reach :: port 1 .*; no encryption$/);
});
