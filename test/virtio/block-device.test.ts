/**
 * A driver sends random requests, cut into random descriptors; a naive disk and naive rules predict data, status and
 * length.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Prng } from '../../src/base/prng.ts';
import { BioOp, BioPool } from '../../src/block/bio.ts';
import { MemoryDisk } from '../../src/block/disks/memory-disk.ts';
import type { Disk } from '../../src/block/ops.ts';
import { queuedDisk } from '../../src/block/queued-disk.ts';
import {
  CONFIG_BYTES,
  EVENT_INDEX,
  INDIRECT,
  RANGE_SECTORS_MAX,
  RANGES_MAX,
} from '../../src/virtio/block-config.ts';
import { BlockDevice } from '../../src/virtio/block-device.ts';
import { RequestType, Status } from '../../src/virtio/request.ts';
import { Driver, Guest, HIGH, MIDDLE, type Segment } from '../support/fakes/virtio-driver.ts';
import { randomTest } from '../support/fixtures/replay.ts';

const DISK_BYTES = 64 * 4096;
const SIZE = 16;
const SERIAL = 'disk-1';

const deviceOf = (disk: Disk): BlockDevice =>
  new BlockDevice({ disk, serial: SERIAL, queues: 1, onIdle: () => undefined });

interface Sent {
  readonly type: number;
  readonly status: number;
  readonly length: number;
  /** What a read returns; empty: nothing. */
  readonly data: Uint8Array;
  readonly dataAt: number;
  readonly statusAt: number;
}

/** Memory for requests: 4 KiB for header and data of each request slot, across the border of two regions too. */
const placeOf = (slot: number): number => (slot === 0 ? MIDDLE - 300 : MIDDLE + slot * 0x2000);

class Trial {
  readonly guest = new Guest();
  readonly driver: Driver;
  readonly model = new Uint8Array(DISK_BYTES);
  readonly device: BlockDevice;
  readonly sent = new Map<number, Sent>();
  readonly slots: number[] = Array.from({ length: 12 }, (_, i) => i);
  readonly #slotOf = new Map<number, number>();
  readonly #prng: Prng;
  readonly #readOnly: boolean;

  constructor(prng: Prng, disk: Disk, features: bigint, start: number) {
    this.#prng = prng;
    this.#readOnly = disk.readOnly;
    this.device = deviceOf(disk);
    this.driver = new Driver(this.guest, SIZE, (features & EVENT_INDEX) !== 0n, start);
    this.device.setFeatures(features);
    this.device.setMemory(this.guest.regions);
    this.device.start(this.driver.setup);
  }

  /** Sends one request. The model is changed at once: requests take effect in their order. False: the queue is full. */
  send(isIndirect: boolean): boolean {
    const slot = this.slots.pop();
    if (slot === undefined) return false;
    const prng = this.#prng;
    const place = placeOf(slot);
    const kinds = [...Object.values(RequestType), RequestType.in, RequestType.out, 99];
    const type = kinds[prng.below(kinds.length)]!;
    let sector = prng.below(DISK_BYTES / 512 + 2);
    const data = new Uint8Array(512 * prng.below(6) + (prng.oneIn(20) ? 1 : 0));
    let out: Uint8Array = new Uint8Array(0);
    let into = 0;
    if (type === RequestType.in) into = data.length;
    else if (type === RequestType.out) {
      prng.fill(data);
      out = data;
    } else if (type === RequestType.getId) into = prng.oneIn(6) ? 19 : 20;
    else if (type === RequestType.discard || type === RequestType.writeZeroes) {
      sector = 0;
      out = this.#ranges(1 + prng.below(prng.oneIn(8) ? RANGES_MAX + 2 : 3));
    }
    const header = new Uint8Array(16);
    const view = new DataView(header.buffer);
    view.setUint32(0, type, true);
    view.setBigUint64(8, BigInt(sector), true);
    const statusAt = place + 16 + out.length + into;
    this.guest.write(place, header);
    this.guest.write(place + 16, out);
    this.guest.write(place + 16 + out.length, new Uint8Array(into).fill(0xee));
    this.guest.write(statusAt, Uint8Array.of(0xff));
    const segments = [
      ...this.#cut(place, 16 + out.length, false),
      ...this.#cut(place + 16 + out.length, into + 1, true),
    ];
    const head = this.driver.add(segments, isIndirect);
    if (head === -1) {
      this.slots.push(slot);
      return false;
    }
    const expected = this.#apply(type, sector * 512, out, into);
    const isFilled = expected.status === Status.ok && into > 0;
    this.#slotOf.set(head, slot);
    this.sent.set(head, {
      type,
      status: expected.status,
      length: isFilled || into === 0 ? into + 1 : 0,
      data: expected.data,
      dataAt: place + 16 + out.length,
      statusAt,
    });
    return true;
  }

  /** @returns the number of requests that ended */
  reap(): number {
    let count = 0;
    for (let used = this.driver.reap(); used !== null; used = this.driver.reap()) {
      const sent = this.sent.get(used.head);
      assert.ok(sent !== undefined);
      this.sent.delete(used.head);
      assert.equal(this.guest.read(sent.statusAt, 1)[0], sent.status, `status of ${sent.type}`);
      assert.equal(used.length, sent.length, `length of ${sent.type}`);
      if (sent.status === Status.ok)
        assert.deepEqual(this.guest.read(sent.dataAt, sent.data.length), sent.data);
      this.slots.push(this.#slotOf.get(used.head)!);
      count++;
    }
    return count;
  }

  #ranges(count: number): Uint8Array {
    const prng = this.#prng;
    const bytes = new Uint8Array(16 * count);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length; at += 16) {
      const isLong = prng.oneIn(20);
      view.setBigUint64(at, BigInt(prng.below(DISK_BYTES / 512)), true);
      view.setUint32(at + 8, isLong ? RANGE_SECTORS_MAX + 1 : prng.below(20), true);
      view.setUint32(at + 12, prng.oneIn(10) ? prng.below(4) : 0, true);
    }
    return bytes;
  }

  #cut(address: number, length: number, writable: boolean): Segment[] {
    const segments: Segment[] = [];
    for (let at = 0; at < length; ) {
      const isOne = this.#prng.oneIn(3) || segments.length === 2;
      const part = isOne ? length - at : this.#prng.below(length - at + 1);
      segments.push({ address: address + at, length: part, writable });
      at += part;
    }
    return segments;
  }

  #apply(type: number, offset: number, out: Uint8Array, into: number) {
    const nothing = new Uint8Array(0);
    const failed = { status: Status.ioError as number, data: nothing };
    const done = { status: Status.ok as number, data: nothing };
    const isInside = (length: number) =>
      length > 0 && length % 512 === 0 && offset + length <= DISK_BYTES;
    switch (type) {
      case RequestType.in:
        if (!isInside(into)) return failed;
        return { status: Status.ok, data: this.model.slice(offset, offset + into) };
      case RequestType.out:
        if (!isInside(out.length) || this.#readOnly) return failed;
        this.model.set(out, offset);
        return done;
      case RequestType.flush:
        return done;
      case RequestType.getId:
        if (into !== 20) return failed;
        return { status: Status.ok, data: Uint8Array.from(Buffer.from(SERIAL.padEnd(20, '\0'))) };
      case RequestType.discard:
      case RequestType.writeZeroes:
        return this.#clear(out, type);
      default:
        return { status: Status.unsupported, data: nothing };
    }
  }

  #clear(out: Uint8Array, type: number) {
    const of = (status: number) => ({ status, data: new Uint8Array(0) });
    const view = new DataView(out.buffer, out.byteOffset, out.length);
    if (this.#readOnly || out.length > 16 * RANGES_MAX) return of(Status.ioError);
    const ranges: [number, number][] = [];
    for (let at = 0; at < out.length; at += 16) {
      const from = Number(view.getBigUint64(at, true)) * 512;
      const length = view.getUint32(at + 8, true) * 512;
      const flags = view.getUint32(at + 12, true);
      if (flags > (type === RequestType.writeZeroes ? 1 : 0)) return of(Status.unsupported);
      if (length > RANGE_SECTORS_MAX * 512 || from + length > DISK_BYTES) return of(Status.ioError);
      ranges.push([from, from + length]);
    }
    for (const [from, to] of ranges) this.model.fill(0, from, to);
    return of(Status.ok);
  }
}

const disks: Readonly<Record<string, () => Disk>> = {
  synchronous: () => new MemoryDisk(DISK_BYTES),
  asynchronous: () =>
    queuedDisk(new MemoryDisk(DISK_BYTES), { requests: 64, depth: 4, mergeBytes: 16384 }),
  'read-only': () => new MemoryDisk(DISK_BYTES, { readOnly: true }),
};

for (const [name, create] of Object.entries(disks))
  randomTest(
    `random requests have the data, status and length of the model: ${name} disk`,
    6000,
    (prng, steps) => {
      for (let done = 0; done < steps; ) {
        const features = (prng.oneIn(2) ? EVENT_INDEX : 0n) | INDIRECT;
        const trial = new Trial(prng, create(), features, 0x10000 - prng.below(200));
        let idle = 0;
        for (let n = 0; n < 300; n++) {
          const before = trial.driver.available;
          for (let more = prng.below(5); more > 0; more--) trial.send(prng.oneIn(2));
          // The device sleeps until it is kicked, and the driver kicks only if it is asked to.
          if (trial.driver.needsKick(before) && trial.driver.available !== before)
            trial.device.kicked(0);
          if (prng.oneIn(2)) trial.device.serve(1 + prng.below(8), prng.below(20_000));
          assert.equal(trial.device.takeFault(), null);
          done += trial.reap();
        }
        while (trial.sent.size > 0 && idle++ < 500) {
          trial.device.serve();
          done += trial.reap();
        }
        assert.equal(trial.sent.size, 0, 'every request ends');
        trial.guest.checkCanaries();
      }
    },
  );

test('the configuration space has the size and limits of the disk', () => {
  const config = new Uint8Array(64);
  deviceOf(new MemoryDisk(DISK_BYTES)).readConfig(0, config);
  const view = new DataView(config.buffer);
  assert.equal(view.getBigUint64(0, true), BigInt(DISK_BYTES / 512));
  assert.equal(view.getUint32(12, true), 126);
  assert.equal(view.getUint32(20, true), 4096);
  assert.equal(view.getUint16(34, true), 1);
  assert.equal(view.getUint32(44, true), 8);
  assert.equal(CONFIG_BYTES, 60);
  deviceOf(new MemoryDisk(DISK_BYTES + 512, { readOnly: true })).readConfig(20, config);
  assert.equal(view.getUint32(0, true), 512, 'the last sector can be used');
});

test('a read-only disk offers RO, and neither DISCARD nor WRITE_ZEROES', () => {
  const bits = (disk: Disk) =>
    [5, 9, 13, 14, 32].map((bit) => (deviceOf(disk).features >> BigInt(bit)) & 1n);
  assert.deepEqual(bits(new MemoryDisk(4096)), [0n, 1n, 1n, 1n, 1n]);
  assert.deepEqual(bits(new MemoryDisk(4096, { readOnly: true })), [1n, 1n, 0n, 0n, 1n]);
});

test('a descriptor that leaves the memory of the guest stops the queue', () => {
  const guest = new Guest();
  const driver = new Driver(guest, SIZE, false);
  const device = deviceOf(new MemoryDisk(DISK_BYTES));
  device.setMemory(guest.regions);
  device.start(driver.setup);
  const end = HIGH + 0x10000;
  driver.add(
    [
      { address: HIGH, length: 16, writable: false },
      { address: end - 513, length: 513, writable: true },
    ],
    false,
  );
  device.serve();
  assert.equal(device.takeFault(), null, 'up to the last byte');
  assert.equal(driver.reap()?.length, 513);
  driver.add(
    [
      { address: HIGH, length: 16, writable: false },
      { address: end - 512, length: 513, writable: true },
    ],
    false,
  );
  device.kicked(0);
  device.serve();
  assert.match(device.takeFault() ?? '', /queue 0 is stopped: a descriptor is outside/);
  assert.equal(driver.reap(), null);
});

test('a discard above the limit of the configuration space fails, and so does a transfer past the end of the disk', () => {
  const guest = new Guest();
  const driver = new Driver(guest, SIZE, false);
  const device = deviceOf(new MemoryDisk(2 * RANGE_SECTORS_MAX * 512));
  device.setMemory(guest.regions);
  device.start(driver.setup);
  const statusOf = (type: number, sector: number, sectors: number): number => {
    const view = guest.view(HIGH, 0x1000);
    view.setUint32(0, type, true);
    view.setUint32(8, sector, true);
    view.setBigUint64(16, 0n, true);
    view.setUint32(24, sectors, true);
    view.setUint32(28, 0, true);
    const length = type === RequestType.discard ? 32 : 16 + 512;
    const readable = { address: HIGH, length, writable: false };
    driver.add([readable, { address: HIGH + 0x800, length: 1, writable: true }], false);
    device.kicked(0);
    device.serve();
    assert.equal(driver.reap()?.length, 1);
    return guest.read(HIGH + 0x800, 1)[0]!;
  };
  const { discard, out } = RequestType;
  assert.equal(statusOf(discard, 0, RANGE_SECTORS_MAX), Status.ok);
  assert.equal(statusOf(discard, 0, RANGE_SECTORS_MAX + 1), Status.ioError);
  assert.equal(statusOf(out, 2 * RANGE_SECTORS_MAX - 1, 0), Status.ok);
  assert.equal(statusOf(out, 2 * RANGE_SECTORS_MAX, 0), Status.ioError);
  assert.equal(device.counters.get('failed'), 0, 'refused before the disk');
});

test('a kick of a queue that does not run is ignored', () => {
  const guest = new Guest();
  const driver = new Driver(guest, SIZE, false);
  const device = deviceOf(new MemoryDisk(DISK_BYTES));
  const faults = (): number => device.counters.values[device.counters.index.brokenQueues]!;
  device.kicked(0);
  assert.equal(device.serve(), false);
  assert.equal(device.takeFault(), null, 'before its start');
  device.setMemory(guest.regions);
  device.start(driver.setup);
  device.stop(0);
  device.kicked(0);
  device.serve();
  assert.equal(device.takeFault(), null, 'after its stop');
  device.start(driver.setup);
  driver.add([{ address: HIGH, length: 8, writable: false }], false);
  device.serve();
  assert.match(device.takeFault() ?? '', /no header/);
  device.kicked(0);
  device.serve();
  assert.equal(device.takeFault(), null, 'a broken queue is reported once');
  assert.equal(faults(), 1);
});

test('a write to an asynchronous disk uses the data at the time it was taken, also after its memory was removed', () => {
  const guest = new Guest();
  const driver = new Driver(guest, SIZE, false);
  const memory = new MemoryDisk(DISK_BYTES);
  const disk = queuedDisk(memory, { requests: 8, depth: 1, mergeBytes: 4096 });
  const device = deviceOf(disk);
  device.setMemory(guest.regions);
  device.start(driver.setup);
  const [header, data, status] = [HIGH, HIGH + 0x100, HIGH + 0x5000];
  const bytes = 0x3000;
  guest.write(header, Uint8Array.from([RequestType.out, ...new Array<number>(15).fill(0)]));
  guest.write(data, new Uint8Array(bytes).fill(7));
  const sizes = [1, 511, bytes - 512];
  for (let i = 0; i < 3; i++) {
    let at = data;
    const segments = sizes.map((length) => {
      at += length;
      return { address: at - length, length, writable: false };
    });
    driver.add(
      [
        { address: header, length: 16, writable: false },
        ...segments,
        { address: status, length: 1, writable: true },
      ],
      false,
    );
  }
  device.serve();
  assert(device.inFlight > 0);
  guest.write(data, new Uint8Array(bytes)); // as FileMemory.unmap()
  device[Symbol.dispose]();
  for (let left = 100; left > 0 && device.inFlight > 0; left--) disk.tick();
  assert.equal(device.inFlight, 0);
  const written = new Uint8Array(bytes);
  const bio = new BioPool(1).alloc()!;
  Object.assign(bio, { op: BioOp.read, offset: 0, length: bytes, data: written, at: 0 });
  bio.owner = { bioEnd: () => undefined };
  memory.submit(bio);
  memory.tick();
  assert.deepEqual(written, new Uint8Array(bytes).fill(7));
});
