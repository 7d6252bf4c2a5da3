/**
 * vhost-user messages on the wire, little-endian. (QEMU, docs/interop/vhost-user.rst, "Message Specification".)
 *
 *   0 request u32 │ 4 flags u32 │ 8 size u32 │ 12 payload, `size` bytes     descriptors with the first byte
 *
 *   flags   bits 0-1 version = 1 │ bit 2 reply │ bit 3 a reply is needed
 */

/** Requests of the front-end that this back-end serves. */
export const Request = {
  getFeatures: 1,
  setFeatures: 2,
  setOwner: 3,
  resetOwner: 4,
  setMemTable: 5,
  setVringNum: 8,
  setVringAddr: 9,
  setVringBase: 10,
  getVringBase: 11,
  setVringKick: 12,
  setVringCall: 13,
  setVringErr: 14,
  getProtocolFeatures: 15,
  setProtocolFeatures: 16,
  getQueueNum: 17,
  setVringEnable: 18,
  getConfig: 24,
  setConfig: 25,
  getInflightFd: 31,
  setInflightFd: 32,
  resetDevice: 34,
  getMaxMemSlots: 36,
  addMemReg: 37,
  remMemReg: 38,
} as const;
export type Request = (typeof Request)[keyof typeof Request];

export const HEADER_BYTES = 12;
export const Header = { request: 0, flags: 4, size: 8 } as const;
export const VERSION = 1;
export const Flag = { versionMask: 3, reply: 4, needReply: 8 } as const;

/** Bits of the protocol features. */
export const ProtocolFeature = {
  mq: 0,
  replyAck: 3,
  config: 9,
  inflightShmfd: 12,
  resetDevice: 13,
  configureMemSlots: 15,
} as const;

/** The features that this back-end offers. */
export const PROTOCOL_FEATURES: bigint = Object.values(ProtocolFeature).reduce(
  (bits, bit) => bits | (1n << BigInt(bit)),
  0n,
);

/** VHOST_USER_F_PROTOCOL_FEATURES, a bit of the device's features. */
export const F_PROTOCOL_FEATURES: bigint = 1n << 30n;

/** struct vhost_vring_state. */
export const State = { index: 0, value: 4, bytes: 8 } as const;
/** struct vhost_vring_addr: addresses in the front-end's address space. */
export const Addr = {
  index: 0,
  flags: 4,
  desc: 8,
  used: 16,
  avail: 24,
  log: 32,
  bytes: 40,
} as const;
/** The payload of SET_VRING_KICK, CALL and ERR: bits 0-7 are the queue, bit 8 means that there is no descriptor. */
export const VringFd = { indexMask: 0xff, noFd: 0x100, bytes: 8 } as const;
/** A region of memory; `offset` is in its file. */
export const Region = { guest: 0, size: 8, user: 16, offset: 24, bytes: 32 } as const;
export const MemTable = { count: 0, regions: 8 } as const;
/** A single region, after eight unused bytes. */
export const OneRegion = { region: 8, bytes: 40 } as const;
export const Config = { offset: 0, size: 4, flags: 8, data: 12 } as const;
/** 24 bytes from front-ends with a compiler that pads the structure, 20 from others. */
export const Inflight = { size: 0, offset: 8, queues: 16, queueSize: 18, bytes: 20, padded: 24 };

/** Maximum number of regions in one SET_MEM_TABLE. */
const TABLE_REGIONS_MAX = 8;
/** Memory slots: regions added one by one. */
export const MEM_SLOTS = 64;
/** Maximum bytes of the configuration space in one message. */
export const CONFIG_BYTES_MAX = 256;

/** The rules of a request: its payload, its descriptors, and when it is allowed. */
export interface Rule {
  readonly name: string;
  readonly sizeMin: number;
  readonly sizeMax: number;
  readonly fdsMax: number;
  /** Protocol feature that must be negotiated; -1: none. */
  readonly needs: number;
  /** Whether it has its own reply, even without REPLY_ACK. */
  readonly hasReply: boolean;
}

const rule = (
  name: string,
  sizeMin: number,
  sizeMax: number = sizeMin,
  more: Partial<Rule> = {},
): Rule => ({ name, sizeMin, sizeMax, fdsMax: 0, needs: -1, hasReply: false, ...more });

const reply = { hasReply: true };
const P = ProtocolFeature;

export const rules: Readonly<Record<number, Rule>> = {
  [Request.getFeatures]: rule('GET_FEATURES', 0, 0, reply),
  [Request.setFeatures]: rule('SET_FEATURES', 8),
  [Request.setOwner]: rule('SET_OWNER', 0),
  [Request.resetOwner]: rule('RESET_OWNER', 0),
  [Request.setMemTable]: rule(
    'SET_MEM_TABLE',
    MemTable.regions,
    MemTable.regions + TABLE_REGIONS_MAX * Region.bytes,
    { fdsMax: TABLE_REGIONS_MAX },
  ),
  [Request.setVringNum]: rule('SET_VRING_NUM', State.bytes),
  [Request.setVringAddr]: rule('SET_VRING_ADDR', Addr.bytes),
  [Request.setVringBase]: rule('SET_VRING_BASE', State.bytes),
  [Request.getVringBase]: rule('GET_VRING_BASE', State.bytes, State.bytes, reply),
  [Request.setVringKick]: rule('SET_VRING_KICK', VringFd.bytes, VringFd.bytes, { fdsMax: 1 }),
  [Request.setVringCall]: rule('SET_VRING_CALL', VringFd.bytes, VringFd.bytes, { fdsMax: 1 }),
  [Request.setVringErr]: rule('SET_VRING_ERR', VringFd.bytes, VringFd.bytes, { fdsMax: 1 }),
  [Request.getProtocolFeatures]: rule('GET_PROTOCOL_FEATURES', 0, 0, reply),
  [Request.setProtocolFeatures]: rule('SET_PROTOCOL_FEATURES', 8),
  [Request.getQueueNum]: rule('GET_QUEUE_NUM', 0, 0, { ...reply, needs: P.mq }),
  [Request.setVringEnable]: rule('SET_VRING_ENABLE', State.bytes),
  [Request.getConfig]: rule('GET_CONFIG', Config.data, Config.data + CONFIG_BYTES_MAX, {
    ...reply,
    needs: P.config,
  }),
  [Request.setConfig]: rule('SET_CONFIG', Config.data, Config.data + CONFIG_BYTES_MAX, {
    needs: P.config,
  }),
  [Request.getInflightFd]: rule('GET_INFLIGHT_FD', Inflight.bytes, Inflight.padded, {
    ...reply,
    needs: P.inflightShmfd,
  }),
  [Request.setInflightFd]: rule('SET_INFLIGHT_FD', Inflight.bytes, Inflight.padded, {
    fdsMax: 1,
    needs: P.inflightShmfd,
  }),
  [Request.resetDevice]: rule('RESET_DEVICE', 0, 0, { needs: P.resetDevice }),
  [Request.getMaxMemSlots]: rule('GET_MAX_MEM_SLOTS', 0, 0, {
    ...reply,
    needs: P.configureMemSlots,
  }),
  [Request.addMemReg]: rule('ADD_MEM_REG', OneRegion.bytes, OneRegion.bytes, {
    fdsMax: 1,
    needs: P.configureMemSlots,
  }),
  // Some front-ends also send the descriptor of the region.
  [Request.remMemReg]: rule('REM_MEM_REG', OneRegion.bytes, OneRegion.bytes, {
    fdsMax: 1,
    needs: P.configureMemSlots,
  }),
};

/** Longest payload of any request. */
export const PAYLOAD_BYTES_MAX: number = Math.max(
  ...Object.values(rules).map(({ sizeMax }) => sizeMax),
);
