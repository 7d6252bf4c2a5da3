/**
 * Fuzzes the virtio block device: rings, chains and requests of a hostile driver, most of them almost valid.
 *
 * Memory changes at any moment: after loads of the device, in some sessions, and whenever the disk gets a bio. After each session
 * - nothing was thrown, and no call served more than its budget;
 * - no byte outside the regions has changed, and every bio was inside the disk and inside a region;
 * - a read-only disk got no write; no request is in flight; the disk failed none;
 * - the device, started again, serves a well-behaved driver.
 */
import assert from 'node:assert/strict';
import { Prng } from '../src/base/prng.ts';
import { type Bio, BioOp } from '../src/block/bio.ts';
import { MemoryDisk } from '../src/block/disks/memory-disk.ts';
import type { Disk } from '../src/block/ops.ts';
import { BlockDevice } from '../src/virtio/block-device.ts';
import { inflightBytes } from '../src/virtio/inflight-table.ts';
import { RequestType } from '../src/virtio/request.ts';
import {
  AVAIL,
  DESC,
  Driver,
  Guest,
  HIGH,
  HIGH_BYTES,
  LOW,
  MIDDLE,
  MIDDLE_BYTES,
  TABLES,
  USED,
} from '../test/support/fakes/virtio-driver.ts';
import type { FuzzOptions } from './nbd.ts';

const DISK_BYTES = 256 * 1024;
const REQUESTS = 16;
const TYPES: readonly number[] = Object.values(RequestType);
/** Addresses at which something begins, ends or lies. */
const PLACES: readonly number[] = [
  ...[LOW, MIDDLE, MIDDLE - 8, MIDDLE + MIDDLE_BYTES - 16, HIGH, HIGH + HIGH_BYTES - 512],
  ...[DESC, AVAIL, USED, TABLES, 0, 2 ** 53, 2 ** 64 - 4096, MIDDLE + 0x8000, MIDDLE + 0x9000],
];
const LENGTHS: readonly number[] = [0, 1, 15, 16, 17, 20, 21, 32, 512, 513, 4096, 2 ** 32 - 1];
/** Bytes of the low region that have rings and tables. */
const RING_BYTES = 0x8400;

const pick = (prng: Prng, from: readonly number[]): number => from[prng.below(from.length)]!;

/** Runs for `seconds`; returns the number of chains taken. Throws at the first failure. */
export function run({ seed, seconds }: FuzzOptions): number {
  const fuzzer = new Fuzzer(new Prng(seed));
  const end = performance.now() + seconds * 1000;
  for (let session = 1; performance.now() < end; session++) {
    fuzzer.session();
    if (session % 32 === 0) fuzzer.guest.checkCanaries();
  }
  fuzzer.guest.checkCanaries();
  return fuzzer.chains;
}

/** Requests that ended. */
function requestsOf({ counters }: BlockDevice): number {
  const { values, index } = counters;
  return (
    values[index.reads]! +
    values[index.writes]! +
    values[index.flushes]! +
    values[index.discards]! +
    values[index.writeZeroes]! +
    values[index.ids]! +
    values[index.refused]!
  );
}

class Fuzzer {
  readonly guest = new Guest();
  chains = 0;
  readonly #prng: Prng;
  readonly #devices: readonly BlockDevice[];
  readonly #low: DataView;
  readonly #area = new Uint8Array(inflightBytes(16));

  constructor(prng: Prng) {
    this.#prng = prng;
    this.#low = this.guest.view(LOW, 0x20000);
    this.#devices = [false, true].map((readOnly) => {
      const disk = this.#checked(new MemoryDisk(DISK_BYTES, { readOnly }));
      return new BlockDevice({ disk, serial: 'fuzzed', queues: 1, onIdle: () => undefined });
    });
    for (const device of this.#devices) device.setMemory(this.guest.regions);
  }

  session(): void {
    const prng = this.#prng;
    const device = this.#devices[prng.oneIn(8) ? 1 : 0]!;
    const size = 1 << prng.below(5);
    const driver = new Driver(this.guest, size, false, prng.below(0x10000));
    device.setFeatures(prng.oneIn(2) ? device.features : prng.oneIn(4) ? 0n : 1n << 28n);
    const hasArea = prng.oneIn(3);
    if (hasArea && prng.oneIn(2)) prng.fill(this.#area.subarray(16));
    else this.#area.fill(0);
    device.setInflight(0, hasArea ? this.#area : null);
    this.#fill(size);
    try {
      device.start(driver.setup);
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'ERR_PEER_PROTOCOL');
      return;
    }
    const before = driver.used;
    const taken = prng.oneIn(4) ? this.#changing(() => this.#serve(device)) : this.#serve(device);
    assert.equal(device.inFlight, 0);
    device.takeFault();
    device.stop(0);
    this.chains += taken;
    if (prng.oneIn(64)) this.#serveWell(device, before);
  }

  /** Lets the driver offer entries and the device serve them. @returns the chains that were taken */
  #serve(device: BlockDevice): number {
    const prng = this.#prng;
    const { index } = device.counters;
    let taken = 0;
    for (let round = 0; round < 12; round++) {
      const size = this.#size;
      const at = AVAIL - LOW;
      const next = this.#low.getUint16(USED - LOW + 2, true);
      const count = prng.oneIn(100) ? prng.below(0x10000) : prng.below(size + 1);
      for (let i = 0; i < count && i < size; i++)
        this.#low.setUint16(at + 4 + ((next + i) % size) * 2, this.#someHead(i), true);
      this.#low.setUint16(at + 2, next + count, true);
      device.kicked(0);
      const budget = 1 + prng.below(20);
      const before = requestsOf(device);
      device.serve(budget);
      const served = requestsOf(device) - before;
      assert.ok(served <= budget, 'no more requests than the budget');
      taken += served;
      device.takeNotify(0);
      if (device.takeFault() !== null) {
        taken++;
        break;
      }
      if (prng.oneIn(4)) this.#describe(prng.below(size), size);
    }
    assert.ok(device.counters.values[index.failed] === 0, 'the disk fails no request');
    return taken;
  }

  #size = 1;
  #hooks = 0;

  #someHead(i: number): number {
    const prng = this.#prng;
    if (prng.oneIn(200)) return prng.below(0x10000);
    return prng.oneIn(20) ? prng.below(this.#size) : (i * 4) % this.#size;
  }

  #fill(size: number): void {
    const prng = this.#prng;
    this.#size = size;
    for (let i = 0; i < size; i++) this.#describe(i, size);
    for (let i = 0; i < REQUESTS; i++) this.#header(MIDDLE + 0x8000 + i * 64);
    this.#low.setUint16(AVAIL - LOW, prng.oneIn(2) ? 1 : 0, true);
  }

  #header(address: number): void {
    const prng = this.#prng;
    const view = this.guest.view(address, 48);
    view.setUint32(0, prng.oneIn(10) ? prng.u32() : pick(prng, TYPES), true);
    view.setUint32(8, prng.oneIn(10) ? prng.u32() : prng.below(DISK_BYTES / 512), true);
    view.setUint32(12, prng.oneIn(40) ? prng.u32() : 0, true);
    for (const at of [16, 32]) {
      view.setUint32(at, prng.below(DISK_BYTES / 512), true);
      view.setUint32(at + 4, 0, true);
      view.setUint32(at + 8, prng.oneIn(10) ? prng.u32() : prng.below(64), true);
      view.setUint32(at + 12, prng.oneIn(10) ? prng.u32() : prng.below(2), true);
    }
  }

  /** Descriptors in groups of four: header, data, data, status; or a table of them. Each field is wrong at times. */
  #describe(index: number, size: number): void {
    const prng = this.#prng;
    const part = index % 4;
    const isIndirect = part === 0 && prng.oneIn(size < 4 ? 2 : 4);
    if (isIndirect)
      for (let i = 0; i < 4; i++) this.#put(TABLES - LOW + (index % 8) * 64, i, i, 4, 0x1000);
    this.#put(0, index, part, isIndirect ? 0 : size, TABLES + (index % 8) * 64);
  }

  /** @param entries of the table; 0: the descriptor is of the table at `tableAt` */
  #put(at: number, index: number, part: number, entries: number, tableAt: number): void {
    const prng = this.#prng;
    const view = this.#low;
    const to = at + index * 16;
    const isTable = entries === 0;
    const isLast = part === 3 || index + 1 >= entries;
    const writes = part === 3 || (part > 0 && (index & 4) === 0 && prng.oneIn(2));
    let address = MIDDLE + 0x8000 + prng.below(REQUESTS) * 64;
    if (isTable) address = tableAt;
    else if (part > 0) address = MIDDLE + prng.below(0x7000);
    let length = isTable ? 64 : [16, 512 * (1 + prng.below(8)), 512, 1][part]!;
    if (part === 0 && !isTable && prng.oneIn(4)) length = 16 * (1 + prng.below(3));
    if (prng.oneIn(60)) address = pick(prng, PLACES);
    if (prng.oneIn(30)) length = prng.oneIn(4) ? prng.u32() : pick(prng, LENGTHS);
    let flags = (isTable ? 4 : isLast ? 0 : 1) | (writes ? 2 : 0);
    if (prng.oneIn(80)) flags = prng.below(8);
    view.setUint32(to, address % 2 ** 32, true);
    view.setUint32(to + 4, Math.floor(address / 2 ** 32), true);
    view.setUint32(to + 8, length, true);
    view.setUint16(to + 12, flags, true);
    view.setUint16(to + 14, prng.oneIn(80) ? prng.below(20) : index + 1, true);
  }

  /** Changes a byte or word of rings, tables or requests. */
  #change(): void {
    const prng = this.#prng;
    const low = this.guest.regions[0]!.view;
    const where = prng.below(4);
    if (where < 2) low[prng.below(RING_BYTES)] = prng.below(256);
    else if (where === 2) low[prng.below(16 * this.#size)] = prng.below(256);
    else this.guest.regions[1]!.view[0x8000 + prng.below(REQUESTS * 64)] = prng.below(256);
  }

  /** Runs while memory changes after some loads: what is loaded twice differs. */
  #changing(body: () => number): number {
    const { prototype } = DataView;
    const { getUint16, getUint32 } = prototype;
    const maybe = (): void => {
      if (++this.#hooks % 16 === 0) this.#change();
    };
    prototype.getUint16 = function (this: DataView, at: number, little?: boolean) {
      const value = getUint16.call(this, at, little);
      maybe();
      return value;
    };
    prototype.getUint32 = function (this: DataView, at: number, little?: boolean) {
      const value = getUint32.call(this, at, little);
      maybe();
      return value;
    };
    try {
      return body();
    } finally {
      prototype.getUint16 = getUint16;
      prototype.getUint32 = getUint32;
    }
  }

  #checked(next: MemoryDisk): Disk {
    const views = new Set(this.guest.regions.map(({ view }) => view));
    return {
      sizeBytes: next.sizeBytes,
      limits: { ...next.limits, maxTransferBytes: 65536 },
      readOnly: next.readOnly,
      synchronous: true,
      submit: (bio: Bio) => {
        if (this.#prng.oneIn(32)) this.#change();
        if (bio.op !== BioOp.flush)
          assert.ok(bio.length > 0 && bio.offset >= 0 && bio.offset + bio.length <= DISK_BYTES);
        if (bio.op === BioOp.read || bio.op === BioOp.write) {
          assert.ok(views.has(bio.data), 'data is in a region');
          assert.ok(bio.length <= 65536 && bio.at >= 0 && bio.at + bio.length <= bio.data.length);
        }
        assert.ok(!next.readOnly || bio.op === BioOp.read || bio.op === BioOp.flush);
        next.submit(bio);
      },
      tick: () => next.tick(),
      extents: (offset, length, sink) => next.extents(offset, length, sink),
    };
  }

  /** The device serves a driver that breaks no rule. */
  #serveWell(device: BlockDevice, start: number): void {
    const driver = new Driver(this.guest, 4, false, start);
    device.setInflight(0, null);
    device.start(driver.setup);
    const header = new Uint8Array(16);
    header[0] = RequestType.getId;
    this.guest.write(HIGH, header);
    this.guest.write(HIGH + 36, Uint8Array.of(0xff));
    driver.add(
      [
        { address: HIGH, length: 16, writable: false },
        { address: HIGH + 16, length: 21, writable: true },
      ],
      false,
    );
    device.serve();
    assert.equal(device.takeFault(), null);
    assert.deepEqual(driver.reap(), { head: 0, length: 21 });
    assert.equal(Buffer.from(this.guest.read(HIGH + 16, 6)).toString(), 'fuzzed');
    assert.equal(this.guest.read(HIGH + 36, 1)[0], 0);
    device.stop(0);
  }
}
