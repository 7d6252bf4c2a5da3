/** Messages and sessions without sockets: limits of every message on both sides, and what a front-end may not do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { MessageReader } from '../../src/vhost-user/protocol/message-reader.ts';
import type { RingSetup, VhostUserDevice } from '../../src/vhost-user/protocol/ops.ts';
import { Session } from '../../src/vhost-user/protocol/session.ts';
import {
  F_PROTOCOL_FEATURES,
  Flag,
  HEADER_BYTES,
  PAYLOAD_BYTES_MAX,
  PROTOCOL_FEATURES,
  Request,
  rules,
  VERSION,
} from '../../src/vhost-user/protocol/wire.ts';
import { state, u64 } from '../support/fixtures/vhost-bytes.ts';

const protocolError = { code: 'ERR_PEER_PROTOCOL' };

function message(
  request: number,
  payload: Uint8Array = new Uint8Array(0),
  flags: number = VERSION,
): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, request, true);
  view.setUint32(4, flags, true);
  view.setUint32(8, payload.length, true);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** Feeds bytes in parts of at most `part`, the descriptors with the first one. @returns bytes that were not consumed */
function feed(reader: MessageReader, bytes: Uint8Array, fds: number[] = [], part = 4096): number {
  for (let at = 0; at < bytes.length; ) {
    const count = Math.min(part, reader.wanted, bytes.length - at);
    reader.bytes.set(bytes.subarray(at, at + count), reader.have);
    const isComplete = reader.took(count, at === 0 ? fds : [], false);
    at += count;
    if (isComplete) return bytes.length - at;
  }
  return -1;
}

/** A device that records what it is told. */
class Recorder implements VhostUserDevice {
  readonly features: bigint = 1n << 32n;
  readonly queueCount = 2;
  readonly queueSizeMax = 256;
  isIdle = true;
  readonly running = new Map<number, RingSetup>();
  readonly did: string[] = [];
  refusesMemory = false;
  memoryBytes = 0;
  setFeatures(features: bigint): void {
    this.did.push(`features ${features}`);
  }
  readConfig(offset: number, out: Uint8Array): boolean {
    out.fill(9);
    return offset < 60;
  }
  writeConfig(): boolean {
    return false;
  }
  setMemory(regions: readonly unknown[], fds: readonly number[]): void {
    assert.equal(this.running.size, 0, 'memory changes while no ring runs');
    assert.equal(regions.length, fds.length);
    if (this.refusesMemory) throw Object.assign(refusal(), {});
    this.memoryBytes = regions.length * 4096;
    this.did.push(`memory ${regions.length}`);
  }
  addMemory(): void {
    assert.equal(this.running.size, 0);
    this.memoryBytes += 4096;
  }
  removeMemory(): void {
    assert.equal(this.running.size, 0);
    this.memoryBytes -= 4096;
  }
  createInflight(): { fd: number; bytes: number } {
    return { fd: 77, bytes: 4096 };
  }
  setInflight(): void {
    assert.equal(this.running.size, 0);
  }
  setKick(index: number, fd: number): void {
    this.did.push(`kick ${index} ${fd}`);
  }
  setCall(index: number, fd: number): void {
    this.did.push(`call ${index} ${fd}`);
  }
  setErr(): void {}
  startRing(setup: RingSetup): void {
    assert(!this.running.has(setup.index), 'a ring starts once');
    this.running.set(setup.index, setup);
  }
  stopRing(index: number): number {
    const setup = this.running.get(index);
    assert(setup !== undefined, 'a ring that stops runs');
    this.running.delete(index);
    return (setup.base + 5) & 0xffff;
  }
  reset(): void {
    this.did.push('reset');
  }
}

function refusal(): Error {
  const reader = new MessageReader();
  try {
    feed(reader, message(99));
  } catch (error) {
    return error as Error;
  }
  throw new Error('unreachable');
}

class Rig {
  readonly device = new Recorder();
  readonly session = new Session(this.device);
  send(
    request: number,
    payload?: Uint8Array,
    fds: number[] = [],
    flags: number = VERSION,
  ): DataView | null {
    const reader = new MessageReader();
    assert.equal(feed(reader, message(request, payload, flags), fds), 0);
    const reply = this.session.handle(reader);
    return reply === null ? null : new DataView(reply.slice(HEADER_BYTES).buffer);
  }
  /** @returns whether the request was acknowledged with success */
  ask(request: number, payload?: Uint8Array, fds: number[] = []): boolean {
    const reply = this.send(request, payload, fds, VERSION | Flag.needReply);
    assert(reply !== null);
    return reply.getBigUint64(0, true) === 0n;
  }
  negotiate(): void {
    this.send(Request.setProtocolFeatures, u64(PROTOCOL_FEATURES));
    this.send(Request.setFeatures, u64(this.device.features | F_PROTOCOL_FEATURES));
  }
  startRing(index: number, base = 0): void {
    this.send(Request.setVringNum, state(index, 128));
    this.send(Request.setVringBase, state(index, base));
    const address = new Uint8Array(40);
    new DataView(address.buffer).setUint32(0, index, true);
    this.send(Request.setVringAddr, address);
    this.send(Request.setVringKick, u64(BigInt(index)), [50 + index]);
    this.send(Request.setVringEnable, state(index, 1));
  }
}

const table = (count: number, said: number = count): Uint8Array => {
  const bytes = new Uint8Array(8 + count * 32);
  new DataView(bytes.buffer).setUint32(0, said, true);
  return bytes;
};

for (const [number, { name, sizeMin, sizeMax, fdsMax }] of Object.entries(rules)) {
  test(`${name} is accepted at the limits of its size and refused outside them`, () => {
    for (const size of [sizeMin, sizeMax])
      assert.equal(feed(new MessageReader(), message(Number(number), new Uint8Array(size))), 0);
    for (const size of [sizeMin - 1, sizeMax + 1])
      if (size >= 0)
        assert.throws(
          () => feed(new MessageReader(), message(Number(number), new Uint8Array(size))),
          protocolError,
        );
    const reader = new MessageReader();
    const fds = Array.from({ length: fdsMax + 1 }, (_, i) => 100 + i);
    assert.throws(
      () => feed(reader, message(Number(number), new Uint8Array(sizeMin)), fds),
      protocolError,
    );
    assert.deepEqual(reader.fds, fds, 'the owner can close them');
  });
}

test('unknown requests, other versions and replies are refused when their header is complete', () => {
  for (let request = 0; request < 64; request++) {
    if (rules[request] !== undefined) continue;
    assert.throws(() => feed(new MessageReader(), message(request)), protocolError);
  }
  for (const flags of [0, 2, 3, VERSION | Flag.reply])
    assert.throws(
      () => feed(new MessageReader(), message(Request.setOwner, undefined, flags)),
      protocolError,
    );
});

test('a message received in parts of any size is the same message, and no byte after it is consumed', () => {
  const prng = new Prng(7);
  for (let round = 0; round < 300; round++) {
    const size = prng.below(9) * 32 + 8;
    const payload = new Uint8Array(Math.min(size, rules[Request.setMemTable]!.sizeMax));
    prng.fill(payload);
    const sent = message(Request.setMemTable, payload);
    const behind = new Uint8Array([...sent, 1, 2, 3]);
    const reader = new MessageReader();
    assert.equal(feed(reader, behind, [], 1 + prng.below(40)), 3);
    const { buffer, byteOffset, byteLength } = reader.payload;
    assert.deepEqual(new Uint8Array(buffer, byteOffset, byteLength), payload);
  }
  assert(PAYLOAD_BYTES_MAX <= 4096 - HEADER_BYTES);
});

test('a request whose protocol feature is not negotiated ends the session', () => {
  const rig = new Rig();
  assert.throws(() => rig.send(Request.getConfig, new Uint8Array(12)), protocolError);
  rig.negotiate();
  assert.throws(() => rig.send(Request.setFeatures, u64(1n << 60n)), protocolError);
  assert.throws(() => rig.send(Request.setProtocolFeatures, u64(1n << 60n)), protocolError);
});

test('a refused request gets a negative acknowledgement if it asked for one, otherwise it ends the session', () => {
  const rig = new Rig();
  rig.negotiate();
  rig.device.refusesMemory = true;
  assert.equal(rig.ask(Request.setMemTable, table(1), [5]), false);
  assert.match(rig.session.refusal, /SET_MEM_TABLE refused/);
  assert.throws(() => rig.send(Request.setMemTable, table(1), [5]), protocolError);
  assert.throws(() => rig.send(Request.setMemTable, table(1, 2), [5]), protocolError);
  assert.throws(() => rig.send(Request.setMemTable, table(2), [5]), protocolError);
});

test('a ring runs only once it is complete and enabled and there is memory', () => {
  const rig = new Rig();
  rig.negotiate();
  rig.startRing(0);
  assert.equal(rig.device.running.size, 0, 'no memory');
  assert(rig.ask(Request.setMemTable, table(1), [5]));
  assert.equal(rig.device.running.get(0)?.size, 128);
  rig.send(Request.setVringEnable, state(0, 0));
  assert.equal(rig.device.running.size, 0);
  rig.send(Request.setVringEnable, state(0, 1));
  assert.equal(rig.device.running.get(0)?.base, 5, 'it continues where it stopped');
  assert(rig.ask(Request.remMemReg, new Uint8Array(40)), 'the last region can be removed');
  assert.equal(rig.device.running.size, 0, 'no memory again');
});

test('without F_PROTOCOL_FEATURES a ring needs no SET_VRING_ENABLE', () => {
  const rig = new Rig();
  rig.send(Request.setFeatures, u64(rig.device.features));
  rig.send(Request.setMemTable, table(1), [5]);
  rig.send(Request.setVringNum, state(1, 64));
  rig.send(Request.setVringAddr, new Uint8Array([1, ...new Uint8Array(39)]));
  rig.send(Request.setVringKick, u64(1n), [9]);
  assert.equal(rig.device.running.get(1)?.size, 64);
});

test('rings pause while memory changes, and continue also if the change is refused', () => {
  const rig = new Rig();
  rig.negotiate();
  assert(rig.ask(Request.setMemTable, table(1), [5]));
  rig.startRing(0, 10);
  rig.device.refusesMemory = true;
  assert.equal(rig.ask(Request.setMemTable, table(1), [5]), false);
  assert.equal(rig.device.running.get(0)?.base, 15);
});

test('refused ring addresses do not stop a ring', () => {
  const rig = new Rig();
  rig.negotiate();
  assert(rig.ask(Request.setMemTable, table(1), [5]));
  rig.startRing(0, 10);
  const before = rig.device.running.get(0);
  const addresses = new Uint8Array(40);
  new DataView(addresses.buffer).setBigUint64(24, 2n ** 53n, true);
  assert.equal(rig.ask(Request.setVringAddr, addresses), false);
  assert.equal(rig.device.running.get(0), before);
});

test('GET_VRING_BASE stops a ring until its next kick descriptor', () => {
  const rig = new Rig();
  rig.negotiate();
  assert(rig.ask(Request.setMemTable, table(1), [5]));
  rig.startRing(1, 0xfffe);
  const reply = rig.send(Request.getVringBase, state(1, 0));
  assert.deepEqual([reply?.getUint32(0, true), reply?.getUint32(4, true)], [1, 3]);
  rig.send(Request.setVringEnable, state(1, 1));
  assert.equal(rig.device.running.size, 0);
  rig.send(Request.setVringKick, u64(1n), [51]);
  assert.equal(rig.device.running.get(1)?.base, 3);
});

test('values outside their limits are refused, values at the limits are accepted', () => {
  const rig = new Rig();
  rig.negotiate();
  const cases: [number, Uint8Array, boolean][] = [
    [Request.setVringNum, state(0, 256), true],
    [Request.setVringNum, state(0, 512), false],
    [Request.setVringNum, state(0, 0), false],
    [Request.setVringNum, state(0, 96), false],
    [Request.setVringNum, state(1, 1), true],
    [Request.setVringNum, state(2, 1), false],
    [Request.setVringBase, state(0, 0xffff), true],
    [Request.setVringBase, state(0, 0x10000), false],
    [Request.setVringEnable, state(0, 1), true],
    [Request.setVringEnable, state(0, 2), false],
    [Request.setVringCall, u64(0x100n), true],
    [Request.setVringCall, u64(0n), false],
    [Request.setVringKick, u64(0x100n), false],
    [Request.setVringCall, u64(0x200n), false],
    [Request.setConfig, new Uint8Array(12), false],
  ];
  for (const [request, payload, isAccepted] of cases)
    assert.equal(rig.ask(request, payload), isAccepted, `${rules[request]!.name} ${payload}`);
});

test('a message that stops rings waits while a request is in flight; others do not', () => {
  const rig = new Rig();
  rig.device.isIdle = false;
  assert(rig.session.mustWait(Request.setMemTable));
  assert(rig.session.mustWait(Request.getVringBase));
  assert(!rig.session.mustWait(Request.getConfig));
  rig.device.isIdle = true;
  assert(!rig.session.mustWait(Request.setMemTable));
});

test('the in-flight area is sent once, in a reply of the same size as the request', () => {
  for (const bytes of [20, 24]) {
    const rig = new Rig();
    rig.negotiate();
    const area = new Uint8Array(bytes);
    new DataView(area.buffer).setUint16(16, 1, true);
    new DataView(area.buffer).setUint16(18, 128, true);
    assert.equal(rig.send(Request.getInflightFd, area)?.byteLength, bytes);
    assert.equal(rig.session.replyFd, 77);
    rig.send(Request.getFeatures);
    assert.equal(rig.session.replyFd, -1);
  }
});
