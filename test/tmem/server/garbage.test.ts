/** A request is received, processed and answered without garbage: everything but the event of the socket. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { SocketBuffers } from '../../../src/net/buffers.ts';
import { Flow, Turns } from '../../../src/net/turns.ts';
import { systemDirectIo } from '../../../src/os/linux/direct-io.ts';
import { systemHasHungUp } from '../../../src/os/linux/hang-up.ts';
import { loadLinux, Struct } from '../../../src/os/linux/system-call.ts';
import { RequestWriter } from '../../../src/tmem/protocol/requests.ts';
import { Op, REQUEST_PART_BYTES_MAX } from '../../../src/tmem/protocol/wire.ts';
import { BusyReader } from '../../../src/tmem/server/busy-reader.ts';
import { ClientTable } from '../../../src/tmem/server/client-table.ts';
import { TmemConnection, type TmemOwner } from '../../../src/tmem/server/connection.ts';
import { SocketOutput } from '../../../src/tmem/server/socket-output.ts';
import { Tmem } from '../../../src/tmem/tmem.ts';
import { FakeStore } from '../../support/fakes/fake-store.ts';
import { noGarbageTest } from '../../support/fixtures/no-garbage.ts';

const SOCK_STREAM = 1;
const AF_UNIX = 1;

noGarbageTest('a polled request and its reply make no garbage', () => {
  const { linux } = loadLinux();
  const io = systemDirectIo(process.platform);
  if (linux === null || io === null) return { run: () => undefined };
  const pair = new Struct(linux, 8);
  linux.bind('int socketpair(int domain, int type, int protocol, uintptr_t to)')(
    ...[AF_UNIX, SOCK_STREAM, 0, pair.address],
  );
  const [own, peer] = [pair.get32(0), pair.get32(4)];
  const tmem = new Tmem({ store: new FakeStore(64, 300_000), dedup: 'off' });
  const table = new ClientTable({ tmem, nowMs: () => 0, cap: 0, onDoomed: () => undefined });
  const buffers = new SocketBuffers(REQUEST_PART_BYTES_MAX, () => new SocketOutput(io));
  const owner: TmemOwner = {
    ...{ buffers, turns: new Turns(() => undefined) },
    busyReader: new BusyReader(io.receiver(buffers.received), io.busyPoll),
    hasHungUp: systemHasHungUp(process.platform),
    stalled: () => assert.fail('the socket accepts every reply'),
    ...{ drained: () => undefined, moved: () => undefined },
    dropped: (_, reason) => assert.fail(reason),
  };
  const user = table.user(1000);
  assert.ok(user !== null);
  const connection = new TmemConnection(owner, 'test', table.connect(user), new Flow(), 0);
  const socket = Object.assign(new EventEmitter(), {
    ...{ _handle: { fd: own }, destroyed: false, writableLength: 0 },
    ...{ pause: () => socket, resume: () => socket },
    write: () => assert.fail('the stream is not used'),
  });
  connection.open(socket as unknown as Socket);

  const bytes = new Uint8Array(1024);
  const writer = new RequestWriter(bytes, 0, bytes.length);
  const send = io.sender(bytes);
  const replies = new Uint8Array(1024);
  const receive = io.receiver(replies);
  const receiveOwn = io.receiver(buffers.received);
  let answered = 0;
  const exchange = (): void => {
    send(peer, writer.writtenBytes);
    writer.clear();
    connection.received(receiveOwn(own));
    answered += receive(peer);
  };
  writer.hello();
  exchange();
  writer.newPool(1, 1, 0, '');
  exchange();
  const oid = new Uint32Array(6);
  return {
    operations: 5000,
    run: (i) => {
      writer.head(i % 2 === 0 ? Op.flushPage : Op.get, 0, 1, i);
      writer.oid(oid, 0);
      writer.index(i);
      exchange();
    },
    check: () => {
      assert.equal(answered % 20, 8, 'a hello of 32 bytes, a reply of 16, and replies of 20');
      assert.ok(tmem.index.pools[0]!.counters.get('flushes') > 5000);
    },
  };
});
