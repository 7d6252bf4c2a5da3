/**
 * A vhost-user session without sockets: a complete message in, a reply out. It keeps the negotiated features and the state of
 * each ring.
 *
 *   ring   size, base, addresses, kick ─ all set, enabled, has memory ─▶ running ─ GET_VRING_BASE, disabled ─▶ stopped
 *
 * A ring starts without waiting for its first kick, because after a reconnect its driver has already kicked.
 *
 * Invariants
 * - Rings run only with memory, and are stopped while it changes; they continue where they stopped.
 * - A refused message changes nothing, except that a ring stays stopped if it could not be restarted.
 * - takeFd() takes descriptors out of a message; the owner of the message closes the others.
 * Cost: control path only.
 */
import { SwapError } from '../../base/errors.ts';
import { type MessageReader, malformed } from './message-reader.ts';
import type { MemoryRegion, VhostUserDevice } from './ops.ts';
import {
  Addr,
  CONFIG_BYTES_MAX,
  Config,
  F_PROTOCOL_FEATURES,
  Flag,
  HEADER_BYTES,
  Header,
  Inflight,
  MEM_SLOTS,
  MemTable,
  OneRegion,
  PAYLOAD_BYTES_MAX,
  PROTOCOL_FEATURES,
  ProtocolFeature,
  Region,
  Request,
  State,
  VERSION,
  VringFd,
} from './wire.ts';

interface Ring {
  size: number;
  base: number;
  desc: number;
  used: number;
  avail: number;
  hasAddresses: boolean;
  hasKick: boolean;
  isEnabled: boolean;
  isRunning: boolean;
}

const newRing = (): Ring => ({
  ...{ size: 0, base: 0, desc: 0, used: 0, avail: 0 },
  ...{ hasAddresses: false, hasKick: false, isEnabled: false, isRunning: false },
});

/** Requests that stop rings or change what they use. */
const stoppers: ReadonlySet<number> = new Set([
  ...[Request.setMemTable, Request.addMemReg, Request.remMemReg],
  ...[Request.getVringBase, Request.setVringEnable, Request.setVringAddr, Request.setVringKick],
  ...[Request.resetOwner, Request.resetDevice, Request.setFeatures, Request.setInflightFd],
]);

const TWO_32 = 0x1_0000_0000;

/** Reads a 64-bit number from the front-end. @throws SwapError ERR_PEER_PROTOCOL: 2^53 or more */
function getNumber(payload: DataView, at: number, what: string): number {
  const value = payload.getUint32(at, true) + payload.getUint32(at + 4, true) * TWO_32;
  if (Number.isSafeInteger(value)) return value;
  throw malformed(`${what} is 2^53 or more`);
}

/** Answers the messages of one front-end. */
export class Session {
  readonly #device: VhostUserDevice;
  readonly #rings: readonly Ring[];
  readonly #reply = new Uint8Array(HEADER_BYTES + PAYLOAD_BYTES_MAX);
  readonly #out = new DataView(this.#reply.buffer, HEADER_BYTES);
  #features = 0n;
  #protocolFeatures = 0n;
  /** A descriptor to send with the last reply and to close afterwards; -1: none. */
  replyFd = -1;
  /** Why the last message was refused, for the log; '': it was not refused. */
  refusal = '';

  constructor(device: VhostUserDevice) {
    this.#device = device;
    this.#rings = Array.from({ length: device.queueCount }, newRing);
  }

  /** Whether the message must wait until no request is in flight. */
  mustWait(request: number): boolean {
    return stoppers.has(request) && !this.#device.isIdle;
  }

  hasProtocolFeature(bit: number): boolean {
    return (this.#protocolFeatures & (1n << BigInt(bit))) !== 0n;
  }

  /**
   * Handles a complete message. Takes the descriptors that it keeps out of `message.fds`.
   * @returns the reply, valid until the next call; null: none
   * @throws SwapError: the session must end
   */
  handle(message: MessageReader): Uint8Array | null {
    const { request, flags, rule, payload } = message;
    this.replyFd = -1;
    this.refusal = '';
    if (rule.needs !== -1 && !this.hasProtocolFeature(rule.needs))
      throw malformed(
        `${rule.name} was sent, but protocol feature ${rule.needs} is not negotiated`,
      );
    const isAcknowledged =
      (flags & Flag.needReply) !== 0 && this.hasProtocolFeature(ProtocolFeature.replyAck);
    try {
      const bytes = this.#dispatch(request, payload, message.fds);
      if (rule.hasReply) return this.#replyOf(request, bytes);
    } catch (error) {
      if (!isAcknowledged || rule.hasReply || !(error instanceof SwapError)) throw error;
      this.refusal = `${rule.name} refused: ${error.message}`;
    }
    if (!isAcknowledged) return null;
    this.#put64(0, this.refusal === '' ? 0n : 1n);
    return this.#replyOf(request, 8);
  }

  /** Ends the session: stops the rings. Requests may be in flight. */
  end(): void {
    for (const [index, ring] of this.#rings.entries()) this.#stop(ring, index);
  }

  /** Writes the reply of a request to the payload. @returns its bytes */
  #dispatch(request: number, payload: DataView, fds: number[]): number {
    const device = this.#device;
    switch (request) {
      case Request.getFeatures:
        return this.#put64(0, device.features | F_PROTOCOL_FEATURES);
      case Request.setFeatures:
        this.#setFeatures(payload.getBigUint64(0, true));
        return 0;
      case Request.setOwner:
        return 0;
      case Request.getProtocolFeatures:
        return this.#put64(0, PROTOCOL_FEATURES);
      case Request.setProtocolFeatures:
        this.#setProtocolFeatures(payload.getBigUint64(0, true));
        return 0;
      case Request.getQueueNum:
        return this.#put64(0, BigInt(device.queueCount));
      case Request.getMaxMemSlots:
        return this.#put64(0, BigInt(MEM_SLOTS));
      case Request.resetOwner:
      case Request.resetDevice:
        this.#reset();
        return 0;
      case Request.getConfig:
        return this.#getConfig(payload);
      case Request.setConfig:
        this.#setConfig(payload);
        return 0;
      case Request.setMemTable:
      case Request.addMemReg:
      case Request.remMemReg:
        this.#changeMemory(request, payload, fds);
        return 0;
      case Request.getInflightFd:
        return this.#getInflight(payload);
      case Request.setInflightFd:
        this.#setInflight(payload, fds);
        return 0;
      case Request.setVringKick:
      case Request.setVringCall:
      case Request.setVringErr:
        this.#setRingFd(request, payload, fds);
        return 0;
      default:
        return this.#ringState(request, payload);
    }
  }

  #setFeatures(features: bigint): void {
    const device = this.#device;
    const unknown = features & ~(device.features | F_PROTOCOL_FEATURES);
    if (unknown !== 0n)
      throw malformed(`SET_FEATURES has bits that were not offered: 0x${unknown.toString(16)}`);
    if (features === this.#features) return;
    this.#pause(() => {
      device.setFeatures(features & ~F_PROTOCOL_FEATURES);
      this.#features = features;
    });
  }

  #setProtocolFeatures(features: bigint): void {
    const unknown = features & ~PROTOCOL_FEATURES;
    if (unknown !== 0n)
      throw malformed(
        `SET_PROTOCOL_FEATURES has bits that were not offered: 0x${unknown.toString(16)}`,
      );
    this.#protocolFeatures = features;
  }

  #reset(): void {
    this.end();
    for (const ring of this.#rings) {
      const { hasKick } = ring;
      Object.assign(ring, newRing(), { hasKick });
    }
    this.#features = 0n;
    this.#device.reset();
  }

  #getConfig(payload: DataView): number {
    const [offset, size] = this.#configRange(payload);
    this.#out.setUint32(Config.offset, offset, true);
    this.#out.setUint32(Config.size, size, true);
    this.#out.setUint32(Config.flags, payload.getUint32(Config.flags, true), true);
    const data = new Uint8Array(this.#out.buffer, HEADER_BYTES + Config.data, size);
    data.fill(0);
    if (this.#device.readConfig(offset, data)) return Config.data + size;
    throw malformed(`GET_CONFIG reads ${size} bytes at ${offset}, outside the configuration`);
  }

  #setConfig(payload: DataView): void {
    const [offset, size] = this.#configRange(payload);
    const data = new Uint8Array(payload.buffer, payload.byteOffset + Config.data, size);
    if (!this.#device.writeConfig(offset, data))
      throw malformed(`SET_CONFIG writes ${size} bytes at ${offset}, which are read-only`);
  }

  #configRange(payload: DataView): readonly [number, number] {
    const offset = payload.getUint32(Config.offset, true);
    const size = payload.getUint32(Config.size, true);
    if (size !== payload.byteLength - Config.data || offset + size > CONFIG_BYTES_MAX)
      throw malformed(`a configuration message has offset ${offset} and size ${size}`);
    return [offset, size];
  }

  #changeMemory(request: number, payload: DataView, fds: number[]): void {
    const device = this.#device;
    if (request === Request.setMemTable) {
      const count = payload.getUint32(MemTable.count, true);
      if (payload.byteLength !== MemTable.regions + count * Region.bytes || fds.length !== count)
        throw malformed(`SET_MEM_TABLE has ${count} regions and ${fds.length} descriptors`);
      const regions = Array.from({ length: count }, (_, i) =>
        getRegion(payload, MemTable.regions + i * Region.bytes),
      );
      this.#pause(() => device.setMemory(regions, fds.splice(0)));
      return;
    }
    const region = getRegion(payload, OneRegion.region);
    this.#pause(() => {
      if (request === Request.remMemReg) device.removeMemory(region);
      else device.addMemory(region, takeFd(fds, 'ADD_MEM_REG'));
    });
  }

  #getInflight(payload: DataView): number {
    const queues = payload.getUint16(Inflight.queues, true);
    const queueSize = payload.getUint16(Inflight.queueSize, true);
    this.#checkInflight(queues, queueSize);
    const { fd, bytes } = this.#device.createInflight(queues, queueSize);
    this.replyFd = fd;
    this.#put64(Inflight.size, BigInt(bytes));
    this.#put64(Inflight.offset, 0n);
    this.#out.setUint16(Inflight.queues, queues, true);
    this.#out.setUint16(Inflight.queueSize, queueSize, true);
    this.#out.setUint32(Inflight.bytes, 0, true);
    return payload.byteLength;
  }

  #setInflight(payload: DataView, fds: number[]): void {
    const queues = payload.getUint16(Inflight.queues, true);
    const queueSize = payload.getUint16(Inflight.queueSize, true);
    this.#checkInflight(queues, queueSize);
    const bytes = getNumber(payload, Inflight.size, 'the size of the in-flight area');
    const position = getNumber(payload, Inflight.offset, 'the offset of the in-flight area');
    const fd = takeFd(fds, 'SET_INFLIGHT_FD');
    this.#pause(() => this.#device.setInflight(fd, { bytes, position, queues, queueSize }));
  }

  #checkInflight(queues: number, queueSize: number): void {
    const { queueCount, queueSizeMax } = this.#device;
    if (queues === 0 || queues > queueCount || queueSize === 0 || queueSize > queueSizeMax)
      throw malformed(`an in-flight area for ${queues} queues of ${queueSize} descriptors`);
  }

  #setRingFd(request: number, payload: DataView, fds: number[]): void {
    const value = getNumber(payload, 0, 'the queue of a descriptor');
    const index = value & VringFd.indexMask;
    const ring = this.#ringAt(index);
    const isWithout = (value & VringFd.noFd) !== 0;
    if (isWithout !== (fds.length === 0) || value > 2 * VringFd.noFd - 1)
      throw malformed(`a descriptor of queue ${index} is missing or must not be there`);
    const fd = fds.pop() ?? -1;
    if (request === Request.setVringCall) this.#device.setCall(index, fd);
    else if (request === Request.setVringErr) this.#device.setErr(index, fd);
    else if (fd === -1)
      throw malformed(`queue ${index} has no kick descriptor: polling is not supported`);
    else {
      this.#device.setKick(index, fd);
      ring.hasKick = true;
      this.#startIfReady(ring, index);
    }
  }

  /** Handles messages about one ring, with a state or addresses. */
  #ringState(request: number, payload: DataView): number {
    const index = payload.getUint32(State.index, true);
    const value = payload.getUint32(State.value, true);
    const ring = this.#ringAt(index);
    switch (request) {
      case Request.setVringNum:
        this.#checkStopped(ring, index);
        if (value === 0 || value > this.#device.queueSizeMax || (value & (value - 1)) !== 0)
          throw malformed(`queue ${index} has ${value} descriptors`);
        ring.size = value;
        return 0;
      case Request.setVringBase:
        this.#checkStopped(ring, index);
        if (value > 0xffff) throw malformed(`queue ${index} starts at ${value}`);
        ring.base = value;
        return 0;
      case Request.setVringAddr:
        this.#setAddresses(ring, index, payload);
        return 0;
      case Request.setVringEnable:
        if (value > 1) throw malformed(`SET_VRING_ENABLE has the value ${value}`);
        ring.isEnabled = value === 1;
        if (ring.isEnabled) this.#startIfReady(ring, index);
        else this.#stop(ring, index);
        return 0;
      default:
        return this.#getBase(ring, index);
    }
  }

  #setAddresses(ring: Ring, index: number, payload: DataView): void {
    const desc = getNumber(payload, Addr.desc, 'the address of a descriptor table');
    const used = getNumber(payload, Addr.used, 'the address of a used ring');
    const avail = getNumber(payload, Addr.avail, 'the address of an available ring');
    this.#stop(ring, index);
    Object.assign(ring, { desc, used, avail, hasAddresses: true });
    this.#startIfReady(ring, index);
  }

  /** GET_VRING_BASE: stops the ring; it starts again with its next kick descriptor. */
  #getBase(ring: Ring, index: number): number {
    this.#stop(ring, index);
    ring.hasKick = false;
    this.#out.setUint32(State.index, index, true);
    this.#out.setUint32(State.value, ring.base, true);
    return State.bytes;
  }

  #ringAt(index: number): Ring {
    const ring = this.#rings[index];
    if (ring !== undefined) return ring;
    throw malformed(`the device has no queue ${index}`);
  }

  #checkStopped(ring: Ring, index: number): void {
    if (ring.isRunning) throw malformed(`queue ${index} runs`);
  }

  /** Stops the rings for a change, and starts them again, even if the change was refused. */
  #pause(change: () => void): void {
    this.end();
    try {
      change();
    } finally {
      for (const [index, ring] of this.#rings.entries()) this.#startIfReady(ring, index);
    }
  }

  #startIfReady(ring: Ring, index: number): void {
    const { size, base, desc, used, avail } = ring;
    const isEnabled = ring.isEnabled || (this.#features & F_PROTOCOL_FEATURES) === 0n;
    const hasMemory = this.#device.memoryBytes > 0;
    const isReady = ring.hasAddresses && ring.hasKick && size > 0 && isEnabled && hasMemory;
    if (!isReady || ring.isRunning) return;
    this.#device.startRing({ index, size, base, desc, used, avail });
    ring.isRunning = true;
  }

  #stop(ring: Ring, index: number): void {
    if (!ring.isRunning) return;
    ring.isRunning = false;
    ring.base = this.#device.stopRing(index);
  }

  #put64(at: number, value: bigint): number {
    this.#out.setBigUint64(at, value, true);
    return at + 8;
  }

  #replyOf(request: number, bytes: number): Uint8Array {
    const header = new DataView(this.#reply.buffer);
    header.setUint32(Header.request, request, true);
    header.setUint32(Header.flags, VERSION | Flag.reply, true);
    header.setUint32(Header.size, bytes, true);
    return this.#reply.subarray(0, HEADER_BYTES + bytes);
  }
}

function getRegion(payload: DataView, at: number): MemoryRegion {
  return {
    guestAddress: getNumber(payload, at + Region.guest, 'the address of a region'),
    userAddress: getNumber(payload, at + Region.user, 'the user address of a region'),
    bytes: getNumber(payload, at + Region.size, 'the size of a region'),
    position: getNumber(payload, at + Region.offset, 'the offset of a region'),
  };
}

function takeFd(fds: number[], name: string): number {
  const fd = fds.pop();
  if (fd === undefined) throw malformed(`${name} has no descriptor`);
  return fd;
}
