/** Datagrams to a Unix socket: addresses, failures, a full queue, no descriptor left open. */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { NotifySocket } from '../../../src/os/linux/notify-socket.ts';
import { testFolder } from '../../support/fixtures/folder.ts';
import { RawSocket } from '../../support/fixtures/raw-socket.ts';
import { errnoOf, noLinux, theLinux } from './machine.ts';

const skip = noLinux;
const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

test('a message arrives complete at a path and at an abstract address', { skip }, (t) => {
  const places = [join(testFolder(t), 'notify'), `@frontswap-test-${process.pid}`];
  for (const place of places) {
    using receiver = new RawSocket('datagram', place);
    const before = openDescriptors();
    const socket = new NotifySocket(theLinux(), place);
    socket.send('READY=1\nSTATUS=größer\n', 1000);
    socket.send('x', 0);
    assert.deepEqual(receiver.messages(), ['READY=1\nSTATUS=größer\n', 'x'], place);
    assert.equal(openDescriptors(), before);
  }
});

test('an address may be as long as sockaddr_un allows, and no longer', { skip }, (t) => {
  const folder = testFolder(t);
  const path = join(folder, 'n'.repeat(106 - folder.length));
  assert.equal(path.length, 107);
  using atPath = new RawSocket('datagram', path);
  new NotifySocket(theLinux(), path).send('a', 0);
  assert.deepEqual(atPath.messages(), ['a']);
  const name = `@${String(process.pid).padEnd(107, 'n')}`;
  using atName = new RawSocket('datagram', name);
  new NotifySocket(theLinux(), name).send('b', 0);
  assert.deepEqual(atName.messages(), ['b']);
  for (const bad of [`${path}n`, `${name}n`, '@', '/', 'run/notify', 'vsock:2:1234', '', '/a\0b'])
    assert.throws(() => new NotifySocket(theLinux(), bad), { code: 'ERR_ARG_VALUE' }, bad);
});

test('without a receiver the error has the errno, and nothing stays open', { skip }, (t) => {
  const folder = testFolder(t);
  const before = openDescriptors();
  const to = (path: string): unknown =>
    errnoOf(() => new NotifySocket(theLinux(), path).send('x', 1000));
  assert.equal(to(join(folder, 'missing')), 'ENOENT');
  writeFileSync(join(folder, 'file'), '');
  assert.equal(to(join(folder, 'file')), 'ECONNREFUSED');
  assert.equal(openDescriptors(), before);
});

test('a full queue is EAGAIN: at once, or after the timeout', { skip, timeout: 60_000 }, (t) => {
  const path = join(testFolder(t), 'notify');
  using receiver = new RawSocket('datagram', path);
  const socket = new NotifySocket(theLinux(), path);
  let sent = 0;
  const errno = errnoOf(() => {
    for (; sent < 100_000; sent++) socket.send('x', 0);
  });
  assert.equal(errno, 'EAGAIN');
  assert.equal(
    errnoOf(() => socket.send('x', 150)),
    'EAGAIN',
  );
  assert.equal(receiver.messages().length, sent);
});
