/** The addresses of listening sockets, and the reasons why a descriptor is none. */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { findListener, parseAddress } from '../../../src/os/linux/listening-socket.ts';
import { testFolder } from '../../support/fixtures/folder.ts';
import { RawSocket } from '../../support/fixtures/raw-socket.ts';
import { noLinux, theLinux } from './machine.ts';

const skip = noLinux;

test('a listening Unix socket has its path, a TCP socket its port', { skip }, async (t) => {
  const path = join(testFolder(t), 'sö');
  using unix = new RawSocket('stream', path).listen();
  assert.deepEqual(findListener(theLinux(), unix.fd), {
    address: { kind: 'unix', path },
    reason: '',
  });
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  const { port } = server.address() as { port: number };
  assert.deepEqual(findListener(theLinux(), fd).address, { kind: 'tcp', host: '127.0.0.1', port });
});

test('other descriptors are refused with a reason', { skip }, (t) => {
  const folder = testFolder(t);
  using bound = new RawSocket('stream', join(folder, 'bound'));
  using datagram = new RawSocket('datagram', join(folder, 'datagram'));
  using abstract = new RawSocket('stream', `@frontswap-listen-${process.pid}`).listen();
  const file = openSync('/dev/null', 'r');
  t.after(() => closeSync(file));
  const reasons = [bound.fd, datagram.fd, abstract.fd, file, 9999].map((fd) =>
    findListener(theLinux(), fd),
  );
  assert.deepEqual(
    reasons,
    [
      'is a socket that does not listen',
      'is not a stream socket',
      'is an abstract Unix socket, which NBD URIs cannot name',
      'is not a socket',
      'is not open',
    ].map((reason) => ({ address: null, reason })),
  );
});

const ip6 = (host: number[], port: number, scope = 0): Uint8Array => {
  const bytes = new Uint8Array(28);
  bytes.set([10, 0, port >> 8, port & 255]);
  bytes.set(host, 8);
  bytes[24] = scope;
  return bytes;
};

test('socket addresses of every family are parsed', () => {
  const parsed = (bytes: Iterable<number>): unknown => {
    const { address, reason } = parseAddress(Uint8Array.from(bytes));
    return address ?? reason;
  };
  const zeros = new Array<number>(15).fill(0);
  assert.deepEqual(parsed([2, 0, 0x2a, 0x39, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0]), {
    kind: 'tcp',
    host: '10.1.2.3',
    port: 10809,
  });
  assert.deepEqual(parsed(ip6([...zeros, 1], 10809)), { kind: 'tcp', host: '::1', port: 10809 });
  const linkLocal = [0xfe, 0x80, ...zeros.slice(3), 7];
  assert.deepEqual(parsed(ip6([...linkLocal, 9], 1, 2)), {
    kind: 'tcp',
    host: 'fe80::709%2',
    port: 1,
  });
  const long = `/${'p'.repeat(107)}`; // fills sun_path: no zero byte follows
  assert.deepEqual(parsed([1, 0, ...Buffer.from(long)]), { kind: 'unix', path: long });
  assert.deepEqual(parsed([1, 0, 47, 97, 0, 98]), { kind: 'unix', path: '/a' });
  assert.equal(parsed([1, 0]), 'is a Unix socket without a path');
  assert.equal(parsed([16, 0, 0, 0]), 'is neither a Unix nor a TCP socket');
});
