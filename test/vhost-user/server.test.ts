/** The server with a real socket and real descriptors, and a front-end that drives real rings. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { openEventFd } from '../../src/os/linux/eventfd.ts';
import { createSealedFile } from '../../src/os/linux/file-memory.ts';
import { Mapping } from '../../src/os/linux/mapping.ts';
import {
  Flag,
  Inflight,
  MemTable,
  Region,
  Request,
  VERSION,
} from '../../src/vhost-user/protocol/wire.ts';
import { state, u64 } from '../support/fixtures/vhost-bytes.ts';
import {
  BlockType,
  connectUnix,
  linux,
  SLOT_BYTES,
  VhostFrontEnd,
} from '../support/fixtures/vhost-front-end.ts';
import { DISK_BYTES, openDescriptors, VhostRig } from '../support/fixtures/vhost-rig.ts';

test('a front-end can write, read, flush, discard and query the serial', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    const page = new Uint8Array(4096).fill(7);
    assert.equal(await front.request(BlockType.out, 8, page), 0);
    assert.equal(await front.request(BlockType.in, 8, 4096, 1), 0);
    assert.deepEqual(front.dataOf(1, 4096), page);
    assert.equal(await front.request(BlockType.flush, 0, 0), 0);
    const range = new Uint8Array(16);
    new DataView(range.buffer).setUint32(0, 8, true);
    new DataView(range.buffer).setUint32(8, 8, true);
    assert.equal(await front.request(BlockType.discard, 0, range), 0);
    assert.equal(await front.request(BlockType.in, 8, 4096, 1), 0);
    assert.deepEqual(front.dataOf(1, 4096), new Uint8Array(4096));
    assert.equal(await front.request(BlockType.getId, 0, 20, 2), 0);
    assert.equal(Buffer.from(front.dataOf(2, 6)).toString(), 'serial');
    assert.equal(await front.request(99, 0, 512), 2, 'unsupported');
    const last = DISK_BYTES / 512 - 8;
    assert.equal(await front.request(BlockType.out, last, page), 0);
    assert.equal(await front.request(BlockType.out, last + 1, page), 1, 'behind the end');
    assert(front.calls[0]!.take() > 0, 'the driver was notified');
  }));

test('more requests at once than a turn serves all complete', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path, { memoryBytes: 2 ** 23 });
    await front.start();
    for (let round = 0; round < 50; round++) {
      for (let slot = 0; slot < 40; slot++) {
        front.memory.bytes.fill(slot + round, front.dataAt(slot), front.dataAt(slot) + SLOT_BYTES);
        front.put(slot, BlockType.out, slot * 128, SLOT_BYTES);
      }
      front.kick();
      assert(await front.settled());
    }
    assert.equal(await front.request(BlockType.in, 39 * 128, 4096), 0);
    assert.deepEqual(front.dataOf(0, 4096), new Uint8Array(4096).fill(39 + 49));
  }));

test('memory without F_SEAL_SHRINK, outside its file, or not in a memory file is refused', () =>
  VhostRig.run(async (rig) => {
    const unsealed = new Mapping(linux).createMemoryFile('unsealed', 2 ** 23);
    const event = openEventFd(linux);
    const other = createSealedFile(linux, 'short', 2 ** 22);
    using front = new VhostFrontEnd(rig.path);
    await front.call(Request.getFeatures);
    front.send(Request.setProtocolFeatures, u64(8n));
    for (const fd of [unsealed, event.fd, other])
      assert.equal(await front.acknowledged(Request.setMemTable, front.table(), [fd]), false);
    assert.match(rig.log, /F_SEAL_SHRINK/);
    assert.match(rig.log, /its file has 4194304 bytes/);
    const beyond = front.table();
    new DataView(beyond.buffer).setBigUint64(MemTable.regions + Region.offset, 4096n, true);
    assert.equal(await front.acknowledged(Request.setMemTable, beyond, [front.memoryFd]), false);
    const uneven = front.table();
    front.putRegion(new DataView(uneven.buffer), MemTable.regions, 4096);
    new DataView(uneven.buffer).setBigUint64(MemTable.regions + Region.offset, 512n, true);
    assert.equal(await front.acknowledged(Request.setMemTable, uneven, [front.memoryFd]), false);
    assert(await front.acknowledged(Request.setMemTable, front.table(), [front.memoryFd]));
    for (const fd of [unsealed, event.fd, other]) linux.close(fd);
  }));

test('regions that overlap, or exceed the address space for them, are refused', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.call(Request.getFeatures);
    front.send(Request.setProtocolFeatures, u64(8n));
    const two = new Uint8Array(MemTable.regions + 2 * Region.bytes);
    const view = new DataView(two.buffer);
    view.setUint32(0, 2, true);
    const fds = [front.memoryFd, front.memoryFd];
    const place = (guest: number, user: number): Uint8Array => {
      front.putRegion(view, 8, 4096);
      front.putRegion(view, 8 + Region.bytes, 4096);
      for (const [key, shift] of [
        [Region.guest, guest],
        [Region.user, user],
      ] as const) {
        const at = 8 + Region.bytes + key;
        view.setBigUint64(at, view.getBigUint64(at, true) + BigInt(shift), true);
      }
      return two;
    };
    for (const [guest, user] of [
      [4095, 4096],
      [4096, 4095],
    ] as const) {
      assert.equal(await front.acknowledged(Request.setMemTable, place(guest, user), fds), false);
      assert.match(rig.lines.pop() ?? '', /overlaps the region of 4096 bytes/);
    }
    assert(await front.acknowledged(Request.setMemTable, place(4096, 4096), fds));
    const huge = front.table();
    front.putRegion(new DataView(huge.buffer), 8, 300 * 2 ** 30);
    assert.equal(await front.acknowledged(Request.setMemTable, huge, [front.memoryFd]), false);
    assert.match(rig.log, /more than 256 GiB/);
    front.putRegion(new DataView(huge.buffer), 8, 0);
    assert.equal(await front.acknowledged(Request.setMemTable, huge, [front.memoryFd]), false);
  }));

test('memory slots are added and removed while a queue runs', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    const one = new Uint8Array(40);
    const view = new DataView(one.buffer);
    front.putRegion(view, 8, 4096);
    for (const key of [Region.guest, Region.user])
      view.setBigUint64(8 + key, view.getBigUint64(8 + key, true) + 2n ** 40n, true);
    for (let i = 0; i < 5; i++) {
      assert(await front.acknowledged(Request.addMemReg, one, [front.memoryFd]));
      assert.equal(await front.acknowledged(Request.addMemReg, one, [front.memoryFd]), false);
      assert.equal(await front.request(BlockType.out, 0, new Uint8Array(512)), 0);
      assert(await front.acknowledged(Request.remMemReg, one));
      assert.equal(await front.acknowledged(Request.remMemReg, one), false);
    }
  }));

test('a ring outside the memory is refused; a chain outside it stops only its queue', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    const wrong = front.addresses(0);
    new DataView(wrong.buffer).setBigUint64(8, 4096n, true);
    assert.equal(await front.acknowledged(Request.setVringAddr, wrong), false);
    assert(await front.acknowledged(Request.setVringAddr, front.addresses(0)));
    front.descriptor(0, 0, 2 ** 40, 16, 1, 1);
    front.publish(0, 0);
    front.kick();
    await rig.until(() => rig.log.includes('is stopped'));
    assert.equal((await front.call(Request.getQueueNum)).payload.getBigUint64(0, true), 16n);
  }));

test('a second front-end is refused while the first is connected, and accepted afterwards', () =>
  VhostRig.run(async (rig) => {
    const first = new VhostFrontEnd(rig.path);
    await first.start();
    const second = new VhostFrontEnd(rig.path);
    second.send(Request.getFeatures);
    assert.equal(await second.reply().catch(() => null), null);
    assert.match(rig.log, /refused: .*in use by/);
    second[Symbol.dispose]();
    assert.equal(await first.request(BlockType.out, 0, new Uint8Array(512)), 0);
    first[Symbol.dispose](); // the server may see the next one before this end
    using third = new VhostFrontEnd(rig.path);
    await third.start();
  }));

test('front-ends that connect one after the other use the same descriptors of the server', () =>
  VhostRig.run(async (rig) => {
    const counts: number[] = [];
    for (let i = 0; i < 20; i++) {
      using front = new VhostFrontEnd(rig.path, { queues: 16 });
      await front.start();
      assert.equal(await front.request(BlockType.out, 0, new Uint8Array(512)), 0);
      front.disconnect();
      await rig.until(() => !rig.server.isConnected);
      counts.push(openDescriptors().length);
    }
    assert.equal(counts.at(-1), counts[0]);
  }));

test('a user outside the access list is refused, and so is a front-end of a disk in use', () =>
  VhostRig.run(async (rig) => {
    const attempt = async (): Promise<boolean> => {
      using front = new VhostFrontEnd(rig.path);
      front.send(Request.getFeatures);
      return (await front.reply().catch(() => null)) !== null;
    };
    rig.access = { uids: [12345], gids: [] };
    assert.equal(await attempt(), false);
    rig.access = { uids: [process.getuid?.() ?? 0], gids: [] };
    assert.equal(await attempt(), true);
    rig.busy = 'the disk is in use by a client of NBD';
    assert.equal(await attempt(), false);
  }));

test('a frozen disk answers no request until it is thawed', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    rig.gate.isFrozen = true;
    front.put(0, BlockType.out, 0, 512);
    front.kick();
    assert.equal(await front.settled(0, 100), false);
    rig.gate.isFrozen = false;
    rig.server.resume();
    assert(await front.settled());
  }));

test('a rate limits the bytes that a front-end transfers', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    rig.gate.setRate(2 ** 20, performance.now());
    const start = performance.now();
    for (let i = 0; i < 8; i++)
      assert.equal(await front.request(BlockType.out, 0, new Uint8Array(SLOT_BYTES)), 0);
    // 512 KiB at 1 MiB a second, of which a tenth of a second is saved up, and the last batch may be late.
    assert(performance.now() - start > 250);
  }));

test('bytes transferred without a rate are not charged to a rate that is set later', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    const data = new Uint8Array(SLOT_BYTES);
    for (let i = 0; i < 64; i++) assert.equal(await front.request(BlockType.out, 0, data), 0);
    rig.gate.setRate(2 ** 20, performance.now());
    // 4 MiB at 1 MiB a second would stop the next requests for 4 seconds; request() waits for one.
    for (let i = 0; i < 3; i++) assert.equal(await front.request(BlockType.out, 0, data), 0);
  }));

test('the requests in flight of a front-end that reconnects are completed once, the oldest first', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    assert.equal(await front.request(BlockType.out, 0, new Uint8Array(512)), 0);
    front.disconnect();
    await rig.until(() => !rig.server.isConnected);
    // The state that a back-end leaves if it ends while two requests are in flight. In the available ring the other one is
    // first.
    front.memory.bytes.fill(1, front.dataAt(5), front.dataAt(5) + 512);
    front.memory.bytes.fill(2, front.dataAt(2), front.dataAt(2) + 512);
    front.put(2, BlockType.out, 16, 512);
    front.put(5, BlockType.out, 16, 512);
    const area = front.inflightView();
    for (const [head, counter] of [
      [15, 8],
      [6, 9],
    ] as const) {
      area.setUint8(16 + head * 16, 1);
      area.setUint32(16 + head * 16 + 8, counter, true);
    }
    front.reconnect(rig.path);
    await front.start(front.used());
    assert(await front.settled());
    assert.equal(front.used(), 3);
    assert.deepEqual([front.usedHead(1), front.usedHead(2)], [15, 6], 'the oldest first');
    assert.deepEqual([front.status(5), front.status(2)], [0, 0]);
    assert.equal(await front.request(BlockType.in, 16, 512, 9), 0);
    assert.deepEqual(front.dataOf(9, 512), new Uint8Array(512).fill(2));
  }));

test('a guest that used other contents of the disk is refused', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    assert.equal(await front.request(BlockType.out, 0, new Uint8Array(512)), 0);
    front.disconnect();
    rig.generation = 'bbbbbbbb';
    await rig.until(() => !rig.server.isConnected);
    front.reconnect(rig.path);
    await assert.rejects(front.start(front.used()));
    assert.match(rig.log, /has been emptied since the guest used it/);
    front.disconnect();
    await rig.until(() => !rig.server.isConnected);
    // Without an in-flight area its rings show it.
    using other = new VhostFrontEnd(rig.path);
    await other.call(Request.getFeatures);
    other.send(Request.setProtocolFeatures, u64(8n));
    other.send(Request.setFeatures, u64(1n << 32n));
    assert(await other.acknowledged(Request.setMemTable, other.table(), [other.memoryFd]));
    other.send(Request.setVringNum, state(0, 128));
    other.send(Request.setVringBase, state(0, 1));
    other.send(Request.setVringAddr, other.addresses(0));
    const kick = openEventFd(linux);
    assert.equal(await other.acknowledged(Request.setVringKick, u64(0n), [kick.fd]), false);
    // A queue that the guest never used begins at 0, which proves nothing about the others.
    other.send(Request.setVringNum, state(1, 128));
    other.send(Request.setVringAddr, other.addresses(1));
    await other.acknowledged(Request.setVringKick, u64(1n), [kick.fd]);
    assert.equal(await other.acknowledged(Request.setVringKick, u64(0n), [kick.fd]), false);
    kick.close();
  }));

test('a front-end that requests too many in-flight areas is disconnected', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start(); // the first area
    const area = new Uint8Array(Inflight.padded);
    const view = new DataView(area.buffer);
    view.setUint16(Inflight.queues, 1, true);
    view.setUint16(Inflight.queueSize, 128, true);
    for (let i = 0; i < 3; i++) {
      const { fds } = await front.call(Request.getInflightFd, area);
      assert.equal(fds.length, 1);
      linux.close(fds[0]!);
    }
    front.send(Request.getInflightFd, area);
    await rig.until(() => !rig.server.isConnected);
    assert.match(rig.log, /GET_INFLIGHT_FD was sent more than 4 times/);
  }));

test('descriptors that are not eventfds are refused', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    for (const request of [Request.setVringKick, Request.setVringCall, Request.setVringErr])
      assert.equal(await front.acknowledged(request, u64(0n), [front.memoryFd]), false);
    assert.equal(await front.request(BlockType.out, 0, new Uint8Array(512)), 0);
  }));

test('a kick descriptor can be replaced any number of times', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    for (let i = 0; i < 200; i++) {
      front.kicks[0]!.close();
      front.kicks[0] = openEventFd(linux);
      assert(await front.acknowledged(Request.setVringKick, u64(0n), [front.kicks[0].fd]));
      assert.equal(await front.request(BlockType.out, 0, new Uint8Array(512)), 0);
    }
  }));

test('a kick descriptor that is always readable does not block the event loop', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    const signals = 200_000;
    // EFD_SEMAPHORE: a read takes one of them.
    const fd = linux.bind('int eventfd(unsigned int count, int flags)')(signals, 0o2000001);
    assert(await front.acknowledged(Request.setVringKick, u64(0n), [fd]));
    assert.equal(await front.request(BlockType.out, 0, new Uint8Array(512)), 0);
    const left = /eventfd-count:\s*([0-9a-f]+)/.exec(
      readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'),
    );
    assert(Number.parseInt(left?.[1] ?? '0', 16) > signals / 2);
    linux.close(fd);
  }));

test('a request whose kick went to the previous descriptor is served', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    assert.equal(await front.request(BlockType.out, 0, new Uint8Array(512)), 0);
    front.put(0, BlockType.out, 0, 512);
    front.kicks[0]!.close();
    front.kicks[0] = openEventFd(linux);
    assert(await front.acknowledged(Request.setVringKick, u64(0n), [front.kicks[0].fd]));
    assert(await front.settled());
  }));

test('messages that take long are each handled in their own turn', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.call(Request.getFeatures);
    front.send(Request.setProtocolFeatures, u64(8n));
    const big = createSealedFile(linux, 'big', 8 * 2 ** 30);
    for (const gib of [6, 7, 8]) {
      const table = front.table();
      front.putRegion(new DataView(table.buffer), MemTable.regions, gib * 2 ** 30);
      front.send(Request.setMemTable, table, [big], VERSION | Flag.needReply);
    }
    await front.reply();
    assert.equal(rig.server.stats.memoryBytes, 6 * 2 ** 30, 'the next one has not been handled');
    await front.reply();
    await front.reply();
    linux.close(big);
  }));

test('a call descriptor whose counter is full and blocks does not stop the host', () =>
  VhostRig.run(async (rig) => {
    using front = new VhostFrontEnd(rig.path);
    await front.start();
    const fd = linux.bind('int eventfd(unsigned int count, int flags)')(0, 0o2000000);
    const word = new BigUint64Array([0xffff_ffff_ffff_fffen]);
    const write = linux.bind('int64_t write(int fd, uintptr_t buffer, size_t count)');
    assert.equal(write(fd, linux.addressOf(word), 8), 8);
    front.send(Request.setVringCall, u64(0n), [fd]);
    for (let i = 0; i < 100; i++)
      assert.equal(await front.request(BlockType.out, 0, new Uint8Array(512)), 0);
    linux.close(fd);
  }));

test('too many descriptors, incomplete messages and messages that break the protocol end the connection', () =>
  VhostRig.run(async (rig) => {
    const event = openEventFd(linux);
    const many = Array.from({ length: 16 }, () => event.fd);
    const header = new Uint8Array(12);
    const attempts: ((front: VhostFrontEnd) => void)[] = [
      (front) => front.send(Request.setMemTable, front.table(), many),
      (front) => front.send(Request.setOwner, undefined, [event.fd]),
      (front) => front.send(99),
      (front) => front.send(Request.getFeatures, new Uint8Array(8)),
      (front) => front.send(Request.getFeatures, undefined, [], VERSION | Flag.reply),
      (front) => front.send(Request.setVringKick, u64(0n), [event.fd, event.fd]),
      (front) => {
        front.sendRaw(header.subarray(0, 5), [event.fd]);
        front.disconnect();
      },
      (front) => front.sendRaw(header, many),
    ];
    for (const attempt of attempts) {
      using front = new VhostFrontEnd(rig.path);
      await rig.until(() => rig.server.isConnected);
      attempt(front);
      await rig.until(() => !rig.server.isConnected);
    }
    event.close();
    assert.equal(rig.server.stats.dropped, attempts.length);
  }));

test('a front-end that does not read its replies is disconnected', () =>
  VhostRig.run(async (rig) => {
    const fd = connectUnix(rig.path);
    await rig.until(() => rig.server.isConnected);
    using front = new VhostFrontEnd(rig.path); // refused: only its messages are used
    const bytes = new Uint8Array(12);
    new DataView(bytes.buffer).setUint32(0, Request.getFeatures, true);
    new DataView(bytes.buffer).setUint32(4, VERSION, true);
    front.disconnect();
    await rig.until(() => {
      front.sendOn(fd, bytes);
      return !rig.server.isConnected;
    });
    assert.match(rig.log, /does not read its replies/);
    linux.close(fd);
  }));
