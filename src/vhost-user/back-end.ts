/**
 * The device of a connection: its memory, its descriptors, and the virtio block device that runs on them.
 *
 *   kick ─ watch ─▶ kicked(entry) ─▶ device.serve() ─▶ notify ─ signal ─▶ call
 *
 * Invariants
 * - A descriptor belongs to this object from the call that passes it on, even if that call throws; each is closed once.
 * - Only eventfds are watched and signalled.
 * - Memory, rings and the in-flight area change only while no request is in flight.
 * - A guest that used other contents of the disk is refused, because it would read zeros in place of its pages. Such a guest
 *   has an in-flight area of another generation, or no in-flight area and a ring that does not start at 0.
 * Cost: serve() allocates nothing; a notification is one system call.
 */
import { SwapError } from '../base/errors.ts';
import type { RequestGate } from '../nbd/protocol/exports.ts';
import type { DescriptorWatch } from '../os/linux/descriptor-watch.ts';
import { createSealedFile, FileMemory, isEventFd, whyUnsafe } from '../os/linux/file-memory.ts';
import type { Linux } from '../os/linux/system-call.ts';
import type { BlockDevice } from '../virtio/block-device.ts';
import { MemoryTable } from './memory-table.ts';
import type { InflightArea, MemoryRegion, RingSetup, VhostUserDevice } from './protocol/ops.ts';

/** The descriptors of a queue; -1: none. */
interface QueueFds {
  kick: number;
  /** Entry of the kick descriptor in the watch. */
  entry: number;
  call: number;
  err: number;
  /** Whether the queue has run on this connection. */
  hasRun: boolean;
}

const refuse = (what: string): SwapError => new SwapError('ERR_PEER_PROTOCOL', what);
const alignedTo = (bytes: number, unit: number): number => Math.ceil(bytes / unit) * unit;
const AREA_ALIGN = 64;
/** After the areas of the queues: the generation of the disk, as text, followed by zeros. */
const STAMP_BYTES = 64;
/** Maximum number of in-flight areas that a connection may ask for: each is a memory file until the peer closes it. */
const INFLIGHT_AREAS_MAX = 4;

export interface BackEndOptions {
  readonly linux: Linux;
  readonly device: BlockDevice;
  readonly watch: DescriptorWatch;
  readonly gate: RequestGate | null;
  /** Identifies the contents of the disk, at most 64 characters of ASCII. */
  readonly generation: string;
  /** Makes the owner call serve() after this time, ms. */
  readonly serveAfter: (ms: number) => void;
  /** Reports a stopped queue, for the log. */
  readonly onFault: (why: string) => void;
}

export class BackEnd implements VhostUserDevice, Disposable {
  readonly #linux: Linux;
  readonly #device: BlockDevice;
  readonly #watch: DescriptorWatch;
  readonly #options: BackEndOptions;
  readonly #memory: MemoryTable;
  readonly #queues: readonly QueueFds[];
  #inflight: FileMemory | null = null;
  #inflightAreas = 0;
  /** Whether the front-end has had an in-flight area of this generation. */
  #isCurrent = false;

  constructor(options: BackEndOptions) {
    const { linux, device, watch } = options;
    this.#options = options;
    this.#linux = linux;
    this.#device = device;
    this.#watch = watch;
    this.#memory = new MemoryTable(linux);
    this.#queues = Array.from({ length: device.queueCount }, () => ({
      ...{ kick: -1, entry: -1, call: -1, err: -1, hasRun: false },
    }));
  }

  get features(): bigint {
    return this.#device.features;
  }

  get queueCount(): number {
    return this.#device.queueCount;
  }

  get queueSizeMax(): number {
    return this.#device.queueSizeMax;
  }

  get isIdle(): boolean {
    return this.#device.inFlight === 0;
  }

  /** Size of the guest's memory, bytes. */
  get memoryBytes(): number {
    return this.#memory.regions.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Called when the watch reports the kick descriptor of an entry. */
  kicked(entry: number): void {
    const index = this.#queues.findIndex((queue) => queue.entry === entry);
    if (index === -1) return;
    this.#watch.takeEvent(entry);
    this.#watch.arm(entry);
    this.#device.kicked(index);
  }

  /**
   * Serves requests as far as the gate allows, and notifies the driver.
   * @param isDraining takes no new request; those in flight complete
   * @returns whether there is more to do now
   */
  serve(isDraining = false): boolean {
    const device = this.#device;
    const { gate } = this.#options;
    let isMore = false;
    const isFree = isDraining || gate === null || gate.isOpen;
    const waitMs = isFree ? 0 : gate.waitMs(performance.now());
    if (waitMs === 0) {
      isMore = device.serve(isDraining ? 0 : undefined);
      const bytes = device.takeBytes(); // even without a rate: a rate that is set later must not count these bytes
      if (!isFree) gate.charge(bytes);
    } else if (Number.isFinite(waitMs)) this.#options.serveAfter(waitMs);
    for (let i = 0; i < this.#queues.length; i++) {
      if (!device.takeNotify(i)) continue;
      const { call } = this.#queues[i]!;
      if (call !== -1) this.#watch.signal(call);
    }
    const fault = device.takeFault();
    if (fault !== null) this.#fault(fault);
    return isMore;
  }

  #fault(why: string): void {
    for (const { err } of this.#queues) if (err !== -1) this.#watch.signal(err);
    this.#options.onFault(why);
  }

  setFeatures(features: bigint): void {
    this.#device.setFeatures(features);
  }

  readConfig(offset: number, out: Uint8Array): boolean {
    return this.#device.readConfig(offset, out);
  }

  writeConfig(): boolean {
    return this.#device.writeConfig();
  }

  setMemory(regions: readonly MemoryRegion[], fds: readonly number[]): void {
    this.#memory.set(regions, fds);
    this.#device.setMemory(this.#memory.regions);
  }

  addMemory(region: MemoryRegion, fd: number): void {
    this.#memory.add(region, fd);
    this.#device.setMemory(this.#memory.regions);
  }

  removeMemory(region: MemoryRegion): void {
    this.#memory.remove(region);
    this.#device.setMemory(this.#memory.regions);
  }

  createInflight(queues: number, queueSize: number): { fd: number; bytes: number } {
    if (this.#inflightAreas === INFLIGHT_AREAS_MAX)
      throw refuse(`GET_INFLIGHT_FD was sent more than ${INFLIGHT_AREAS_MAX} times`);
    this.#inflightAreas++;
    const bytes = queues * this.#areaBytes(queueSize) + STAMP_BYTES;
    const fd = createSealedFile(this.#linux, 'frontswap-inflight', bytes);
    try {
      const area = new FileMemory(this.#linux, fd, 0, bytes);
      area.bytes.set(this.#stamp(), bytes - STAMP_BYTES);
      area.unmap();
    } catch (error) {
      this.#linux.close(fd);
      throw error;
    }
    return { fd, bytes };
  }

  setInflight(fd: number, { bytes, position, queues, queueSize }: InflightArea): void {
    const each = this.#areaBytes(queueSize);
    let area: FileMemory;
    try {
      const wanted = queues * each + STAMP_BYTES;
      if (bytes !== wanted) throw refuse(`the in-flight area has ${bytes} bytes, not ${wanted}`);
      const why = whyUnsafe(this.#linux, fd, position, bytes);
      if (why !== null) throw refuse(`the in-flight area: ${why}`);
      area = new FileMemory(this.#linux, fd, position, bytes);
    } finally {
      this.#linux.closeReceived(fd);
    }
    const stamp = area.bytes.slice(bytes - STAMP_BYTES);
    if (Buffer.compare(stamp, this.#stamp()) !== 0) {
      area.unmap();
      throw refuse(
        'the disk has been emptied since the guest used it, by a restart of the host or a reset: restart the guest',
      );
    }
    this.#dropInflight();
    this.#inflight = area;
    this.#isCurrent = true;
    for (let i = 0; i < queues; i++)
      this.#device.setInflight(i, area.bytes.subarray(i * each, (i + 1) * each));
  }

  setKick(index: number, fd: number): void {
    const queue = this.#queues[index]!;
    this.#checkEvent(fd, 'kick');
    this.#dropKick(queue);
    queue.kick = fd;
    queue.entry = this.#watch.add(fd);
    if (queue.entry !== -1) {
      this.#device.kicked(index); // the previous descriptor may have had a kick
      return;
    }
    this.#dropKick(queue);
    throw refuse('too many kick descriptors are being replaced at the same time');
  }

  setCall(index: number, fd: number): void {
    const queue = this.#queues[index]!;
    if (fd !== -1) this.#checkEvent(fd, 'call');
    this.#close(queue.call);
    queue.call = fd;
    // Notifications from the time without a descriptor are not lost.
    if (fd !== -1 && this.memoryBytes > 0) this.#watch.signal(fd);
  }

  setErr(index: number, fd: number): void {
    const queue = this.#queues[index]!;
    if (fd !== -1) this.#checkEvent(fd, 'error');
    this.#close(queue.err);
    queue.err = fd;
  }

  startRing(setup: RingSetup): void {
    const queue = this.#queues[setup.index]!;
    if (!this.#isCurrent && !queue.hasRun && setup.base !== 0)
      throw refuse(
        'the guest has already used a disk, and it is unknown whether it was this one: restart the guest, or use a front-end with INFLIGHT_SHMFD',
      );
    this.#device.start(setup);
    queue.hasRun = true;
  }

  stopRing(index: number): number {
    return this.#device.stop(index);
  }

  reset(): void {
    this.#device.setFeatures(0n);
    this.#dropInflight();
  }

  [Symbol.dispose](): void {
    for (const queue of this.#queues) {
      this.#dropKick(queue);
      for (const key of ['call', 'err'] as const) {
        this.#close(queue[key]);
        queue[key] = -1;
      }
    }
    this.#device[Symbol.dispose]();
    this.#dropInflight();
    this.#memory.clear();
  }

  #stamp(): Uint8Array {
    const stamp = new Uint8Array(STAMP_BYTES);
    new TextEncoder().encodeInto(this.#options.generation, stamp);
    return stamp;
  }

  #areaBytes(queueSize: number): number {
    return alignedTo(this.#device.inflightBytes(queueSize), AREA_ALIGN);
  }

  #dropInflight(): void {
    for (let i = 0; i < this.#queues.length; i++) this.#device.setInflight(i, null);
    this.#inflight?.unmap();
    this.#inflight = null;
  }

  #dropKick(queue: QueueFds): void {
    if (queue.entry !== -1) this.#watch.remove(queue.entry);
    this.#close(queue.kick);
    queue.entry = -1;
    queue.kick = -1;
  }

  #checkEvent(fd: number, what: string): void {
    if (isEventFd(fd)) return;
    this.#linux.closeReceived(fd);
    throw refuse(`the ${what} descriptor is not an eventfd`);
  }

  #close(fd: number): void {
    if (fd !== -1) this.#linux.close(fd);
  }
}
