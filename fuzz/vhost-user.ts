/**
 * Fuzzes a vhost-user session with its real back-end: messages with descriptors of several kinds, most of them valid, some damaged,
 * cut anywhere; and queues full of damaged descriptors in real shared memory. Nothing but a refusal may come of it, each
 * serve() must end, the disk must complete every bio, and every descriptor must be closed at the end.
 */
import assert from 'node:assert/strict';
import { openSync, readdirSync } from 'node:fs';
import { SwapError } from '../src/base/errors.ts';
import { Prng } from '../src/base/prng.ts';
import { MemoryDisk } from '../src/block/disks/memory-disk.ts';
import { DescriptorWatch } from '../src/os/linux/descriptor-watch.ts';
import { openEventFd } from '../src/os/linux/eventfd.ts';
import { createSealedFile, FileMemory } from '../src/os/linux/file-memory.ts';
import { Mapping } from '../src/os/linux/mapping.ts';
import { type Linux, loadLinux } from '../src/os/linux/system-call.ts';
import { BackEnd } from '../src/vhost-user/back-end.ts';
import { MessageReader } from '../src/vhost-user/protocol/message-reader.ts';
import { Session } from '../src/vhost-user/protocol/session.ts';
import {
  Flag,
  HEADER_BYTES,
  PROTOCOL_FEATURES,
  Request,
  rules,
  VERSION,
} from '../src/vhost-user/protocol/wire.ts';
import { BlockDevice } from '../src/virtio/block-device.ts';

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
}

const MEMORY_BYTES = 2 ** 20;
const GUEST = 0x10_0000;
const USER = 0x7000_0000;
const MESSAGES = 60;

const requests = Object.keys(rules).map(Number);
const openCount = (): number => readdirSync('/proc/self/fd').length;

/** One front-end with its back-end; the watch and the memory file are used again. */
class Case {
  readonly #linux: Linux;
  readonly #prng: Prng;
  readonly #watch: DescriptorWatch;
  readonly #memoryFd: number;
  readonly #memory: FileMemory;
  readonly #disk = new MemoryDisk(2 ** 20);
  readonly #backEnd: BackEnd;
  readonly #session: Session;
  readonly #reader = new MessageReader();
  readonly #duplicate: (fd: number) => number;
  #lastArea: Uint8Array | null = null;
  #lastAreaFd = -1;

  constructor(
    linux: Linux,
    prng: Prng,
    watch: DescriptorWatch,
    memoryFd: number,
    memory: FileMemory,
  ) {
    this.#linux = linux;
    this.#prng = prng;
    this.#watch = watch;
    this.#memoryFd = memoryFd;
    this.#memory = memory;
    const fcntl = linux.bind('int fcntl(int fd, int command, int value)');
    this.#duplicate = (fd) => fcntl(fd, 1030, 3);
    const device = new BlockDevice({
      ...{ disk: this.#disk, serial: 'fuzz', queues: 16 },
      onIdle: () => undefined,
    });
    this.#backEnd = new BackEnd({
      ...{ linux, device, watch, gate: null, generation: 'g' },
      serveAfter: () => undefined,
      onFault: () => undefined,
    });
    this.#session = new Session(this.#backEnd);
  }

  run(): void {
    const prng = this.#prng;
    try {
      if (!prng.oneIn(4)) this.#negotiate();
      for (let left = MESSAGES; left > 0; left--) {
        if (prng.oneIn(4)) this.#work();
        else this.#message();
      }
    } catch (error) {
      if (!(error instanceof SwapError)) throw error; // the session ends
    } finally {
      this.#session.end();
      this.#close();
      this.#backEnd[Symbol.dispose]();
      if (this.#lastAreaFd !== -1) this.#linux.close(this.#lastAreaFd);
      while (this.#watch.take() !== -1);
    }
    this.#disk.tick();
    assert.equal(this.#backEnd.isIdle, true, 'every bio has ended');
  }

  #negotiate(): void {
    this.#send(Request.setProtocolFeatures, this.#u64(PROTOCOL_FEATURES), []);
    this.#send(Request.setFeatures, this.#u64((1n << 32n) | (1n << 30n)), []);
    this.#send(Request.setMemTable, this.#payload(Request.setMemTable), [
      this.#duplicate(this.#memoryFd),
    ]);
    for (const request of [Request.setVringNum, Request.setVringAddr, Request.setVringKick])
      this.#send(
        request,
        this.#payload(request),
        request === Request.setVringKick ? [this.#event()] : [],
      );
    this.#send(Request.setVringEnable, this.#payload(Request.setVringEnable), []);
  }

  #message(): void {
    const prng = this.#prng;
    const request = prng.oneIn(40) ? prng.below(50) : requests[prng.below(requests.length)]!;
    const payload = this.#payload(request);
    if (prng.oneIn(8) && payload.length > 0) payload[prng.below(payload.length)] = prng.u32();
    const fdsMax = rules[request]?.fdsMax ?? 0;
    let count = fdsMax;
    if (request === Request.setMemTable) count = payload[0]!;
    if (prng.oneIn(10)) count = prng.below(4);
    if (request === Request.remMemReg || (payload[1]! & 1) === 1) count = 0;
    this.#send(
      request,
      payload,
      Array.from({ length: Math.min(count, 16) }, () => this.#anyFd(request)),
    );
  }

  #send(request: number, payload: Uint8Array, fds: readonly number[]): void {
    const prng = this.#prng;
    const bytes = new Uint8Array(HEADER_BYTES + payload.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, request, true);
    view.setUint32(4, prng.oneIn(100) ? prng.below(16) : VERSION | Flag.needReply, true);
    view.setUint32(8, prng.oneIn(100) ? prng.below(400) : payload.length, true);
    bytes.set(payload, HEADER_BYTES);
    const reader = this.#reader;
    for (let at = 0; at < bytes.length; ) {
      const part = Math.min(reader.wanted, bytes.length - at, 1 + prng.below(40));
      reader.bytes.set(bytes.subarray(at, at + part), reader.have);
      const isComplete = reader.took(part, at === 0 ? fds : [], prng.oneIn(3000));
      at += part;
      if (isComplete) this.#handle(request);
    }
  }

  #handle(request: number): void {
    if (this.#session.mustWait(request)) this.#disk.tick();
    assert(!this.#session.mustWait(request), 'a tick ends all requests of this disk');
    let reply: Uint8Array | null;
    try {
      reply = this.#session.handle(this.#reader);
    } finally {
      this.#close();
    }
    const fd = this.#session.replyFd;
    if (fd !== -1 && reply !== null) {
      if (this.#lastAreaFd !== -1) this.#linux.close(this.#lastAreaFd);
      this.#lastAreaFd = fd;
      this.#lastArea = reply.slice(HEADER_BYTES);
    }
    this.#reader.clear();
  }

  #close(): void {
    for (const fd of this.#reader.fds.splice(0)) this.#linux.close(fd);
  }

  #u64(value: bigint): Uint8Array {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    return bytes;
  }

  /** A payload that is valid, most often. */
  #payload(request: number): Uint8Array {
    const prng = this.#prng;
    const size = rules[request]?.sizeMin ?? prng.below(60);
    const bytes = new Uint8Array(request === Request.setMemTable ? 40 : size);
    const view = new DataView(bytes.buffer);
    const queue = prng.oneIn(5) ? prng.below(20) : 0;
    if (
      request === Request.setMemTable ||
      request === Request.addMemReg ||
      request === Request.remMemReg
    ) {
      if (request === Request.setMemTable) view.setUint32(0, 1, true);
      const slot = request === Request.setMemTable ? 0 : 1 + prng.below(2);
      view.setBigUint64(8, BigInt(GUEST + slot * MEMORY_BYTES), true);
      view.setBigUint64(16, BigInt(MEMORY_BYTES), true);
      view.setBigUint64(24, BigInt(USER + slot * MEMORY_BYTES), true);
    } else if (request === Request.setVringAddr) {
      view.setUint32(0, queue, true);
      for (const [at, offset] of [
        [8, 0],
        [16, 0x3000],
        [24, 0x2000],
      ] as const)
        view.setBigUint64(at, BigInt(USER + offset + queue * 0x4000), true);
    } else if (request === Request.setInflightFd && this.#lastArea !== null)
      return this.#lastArea.slice();
    else if (request === Request.getInflightFd || request === Request.setInflightFd) {
      view.setUint16(16, 1 + prng.below(17), true);
      view.setUint16(18, 1 << prng.below(11), true);
    } else if (size === 8) {
      view.setUint32(0, queue, true);
      const values: Readonly<Record<number, number>> = {
        [Request.setVringNum]: 128,
        [Request.setVringEnable]: prng.below(2),
        [Request.setVringBase]: prng.oneIn(4) ? prng.below(70_000) : 0,
      };
      view.setUint32(4, values[request] ?? 0, true);
      if (request === Request.setFeatures) return this.#u64((1n << 32n) | (1n << 30n));
      if (request === Request.setProtocolFeatures) return this.#u64(PROTOCOL_FEATURES);
    }
    return bytes;
  }

  #event(): number {
    return openEventFd(this.#linux).fd;
  }

  #anyFd(request: number): number {
    const prng = this.#prng;
    if (prng.oneIn(20)) return openSync('/dev/zero', 'r+');
    if (prng.oneIn(20)) return new Mapping(this.#linux).createMemoryFile('unsealed', MEMORY_BYTES);
    if (prng.oneIn(20)) return createSealedFile(this.#linux, 'short', 4096);
    if (request === Request.setInflightFd && this.#lastAreaFd !== -1)
      return this.#duplicate(this.#lastAreaFd);
    const isMemory = request === Request.setMemTable || request === Request.addMemReg;
    return isMemory || request === Request.setInflightFd
      ? this.#duplicate(this.#memoryFd)
      : this.#event();
  }

  /** Damages the queues, and lets the device serve them. */
  #work(): void {
    const prng = this.#prng;
    const { bytes } = this.#memory;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let queue = 0; queue < 2; queue++) {
      const base = queue * 0x4000;
      for (let i = 0; i < 128; i++) this.#descriptor(view, base + i * 16, i);
      for (let i = 0; i < 128; i++)
        view.setUint16(base + 0x2004 + i * 2, prng.oneIn(100) ? prng.u32() : prng.below(128), true);
      const index = view.getUint16(base + 0x2002, true);
      view.setUint16(base + 0x2002, prng.oneIn(50) ? prng.u32() : index + prng.below(30), true);
    }
    for (let at = 0x10000; at < 0x10800; at += 16) {
      view.setUint32(at, prng.oneIn(20) ? prng.u32() : [0, 1, 4, 8, 11, 13][prng.below(6)]!, true);
      view.setUint32(at + 4, 0, true);
      view.setUint32(at + 8, prng.oneIn(10) ? prng.u32() : prng.below(2048), true);
      view.setUint32(at + 12, prng.oneIn(20) ? prng.u32() : 0, true);
    }
    for (let entry = this.#watch.take(); entry !== -1; entry = this.#watch.take())
      this.#backEnd.kicked(entry);
    for (let left = 100; this.#backEnd.serve(); left--) assert(left > 0, 'the work ends');
  }

  /** A descriptor of a chain: header, data, status; sometimes anything. */
  #descriptor(view: DataView, at: number, i: number): void {
    const prng = this.#prng;
    const role = i % 3;
    const isWild = prng.oneIn(60);
    const offset = role === 0 ? 0x10000 + prng.below(128) * 16 : 0x20000 + prng.below(0x4_0000);
    const address = isWild ? prng.u32() : GUEST + offset;
    view.setBigUint64(at, BigInt(address), true);
    const length = role === 0 ? 16 : role === 1 ? (prng.oneIn(3) ? 16 : 512 * prng.below(9)) : 1;
    view.setUint32(at + 8, isWild ? prng.u32() : length, true);
    const flags = role === 2 ? 2 : role === 1 ? 1 | (prng.below(2) * 2) : 1;
    view.setUint16(at + 12, prng.oneIn(60) ? prng.below(8) : flags, true);
    view.setUint16(at + 14, prng.oneIn(60) ? prng.u32() : i + 1, true);
  }
}

/** Runs for `seconds`; returns the number of sessions. Throws at the first failure. */
export function run({ seed, seconds }: FuzzOptions): number {
  const { linux, reason } = loadLinux();
  if (linux === null) throw new Error(reason);
  const prng = new Prng(seed);
  const end = performance.now() + seconds * 1000;
  const watch = new DescriptorWatch(linux, 65, () => undefined);
  const memoryFd = createSealedFile(linux, 'fuzz', MEMORY_BYTES);
  const memory = new FileMemory(linux, memoryFd, 0, MEMORY_BYTES);
  const before = openCount();
  let count = 0;
  for (; performance.now() < end; count++) {
    memory.bytes.fill(0, 0, 0x8000);
    new Case(linux, prng, watch, memoryFd, memory).run();
    assert.equal(openCount(), before, `case ${count} closes its descriptors`);
  }
  watch[Symbol.dispose]();
  memory.unmap();
  linux.close(memoryFd);
  return count;
}
