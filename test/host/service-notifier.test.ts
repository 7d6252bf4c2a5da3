/** Messages to systemd, and what is logged where they cannot be sent. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ServiceNotifier } from '../../src/host/service-notifier.ts';
import { noLinux } from '../os/linux/machine.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { RawSocket } from '../support/fixtures/raw-socket.ts';
import { until } from '../support/fixtures/until.ts';

const skip = noLinux;
const timeout = 60_000;
const PID = 77;

interface Rig {
  readonly path: string;
  readonly logged: string[];
  readonly receiver: RawSocket;
  readonly notifier: ServiceNotifier;
}
function rig(
  t: TestContext,
  env: Record<string, string> = {},
  answers: () => Promise<boolean> | null = () => null,
): Rig {
  const path = join(testFolder(t), 'notify');
  const receiver = new RawSocket('datagram', path);
  const logged: string[] = [];
  const log = (line: string): void => void logged.push(line);
  const notifier = new ServiceNotifier({ NOTIFY_SOCKET: path, ...env }, PID, log, answers);
  t.after(() => {
    notifier.close();
    receiver[Symbol.dispose]();
  });
  return { path, logged, receiver, notifier };
}

test('ready and stopping are one message each, with a status of one line', { skip }, (t) => {
  const { receiver, notifier, logged } = rig(t);
  notifier.ready('serving on /a\nMAINPID=1');
  notifier.stopping('bye');
  assert.deepEqual(receiver.messages(), [
    'READY=1\nSTATUS=serving on /a MAINPID=1\n',
    'STOPPING=1\nSTATUS=bye\n',
  ]);
  assert.deepEqual(logged, []);
});

test('the watchdog is fed from ready() until close()', { skip, timeout }, async (t) => {
  const { receiver, notifier } = rig(t, { WATCHDOG_USEC: '40000', WATCHDOG_PID: String(PID) });
  const messages: string[] = [];
  const count = (): number => {
    messages.push(...receiver.messages());
    return messages.filter((text) => text === 'WATCHDOG=1\n').length;
  };
  // Timers of the notifier do not keep a process alive; this one does, for the test.
  const alive = setInterval(() => undefined, 1000);
  t.after(() => clearInterval(alive));
  assert.equal(count(), 0);
  notifier.ready('');
  notifier.ready('');
  await until('three messages', () => count() >= 3);
  notifier.stopping('');
  const before = count();
  await until('messages while it stops', () => count() > before);
  notifier.close();
  const after = count();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(count(), after);
});

test('the watchdog is not fed while a thread does not answer', { skip, timeout }, async (t) => {
  const questions: ((areAlive: boolean) => void)[] = [];
  const answers = (): Promise<boolean> => new Promise((resolve) => questions.push(resolve));
  const { receiver, notifier } = rig(t, { WATCHDOG_USEC: '2000' }, answers);
  const alive = setInterval(() => undefined, 1000);
  t.after(() => clearInterval(alive));
  notifier.ready('');
  await until('it asks', () => questions.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(questions.length, 1, 'once');
  assert.deepEqual(receiver.messages(), ['READY=1\nSTATUS=\n']);
  questions[0]!(false);
  await until('it asks again', () => questions.length === 2);
  assert.deepEqual(receiver.messages(), []);
  questions[1]!(true);
  await until('and again', () => questions.length === 3);
  assert.deepEqual(receiver.messages(), ['WATCHDOG=1\n']);
});

test('the watchdog of another process, or one with an invalid interval, is not fed', {
  skip,
  timeout,
}, async (t) => {
  const other = rig(t, { WATCHDOG_USEC: '2000', WATCHDOG_PID: '1' });
  const wrong = rig(t, { WATCHDOG_USEC: '1s' });
  for (const { notifier } of [other, wrong]) notifier.ready('x');
  await new Promise((resolve) => setTimeout(resolve, 50));
  for (const { receiver } of [other, wrong])
    assert.deepEqual(receiver.messages(), ['READY=1\nSTATUS=x\n']);
  assert.deepEqual(other.logged, []);
  assert.match(wrong.logged.join(), /^WATCHDOG_USEC: '1s' is not a time in microseconds/);
});

test('each failed notification is logged, and failures of the watchdog once', {
  skip,
  timeout,
}, async (t) => {
  const { path, logged, notifier } = rig(t, { WATCHDOG_USEC: '2000' });
  rmSync(path);
  notifier.ready('x');
  await until('a second line', () => logged.length >= 2);
  await new Promise((resolve) => setTimeout(resolve, 50));
  notifier.stopping('x');
  assert.deepEqual(logged, [
    'systemd is not notified: sendto failed: ENOENT',
    'the watchdog of systemd is not fed: sendto failed: ENOENT',
    'systemd is not notified: sendto failed: ENOENT',
  ]);
});

test('an unsupported address is logged; without an address nothing is logged', { skip }, () => {
  const logged: string[] = [];
  const log = (line: string): void => void logged.push(line);
  for (const address of ['', 'vsock:2:1234']) {
    const notifier = new ServiceNotifier({ NOTIFY_SOCKET: address }, PID, log);
    notifier.ready('x');
    notifier.stopping('x');
    notifier.close();
  }
  assert.deepEqual(logged, [
    "NOTIFY_SOCKET: systemd is not notified: 'vsock:2:1234' is neither an absolute path nor @NAME",
  ]);
});
