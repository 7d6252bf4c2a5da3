/**
 * The NBD wire format as tables: magic numbers, values and message layouts, and accessors for 64-bit numbers. Names are those
 * of the protocol document, without prefix (NBD_OPT_GO is Option.go). Every number is big-endian.
 *
 * Sources
 * 1. NetworkBlockDevice/nbd, doc/proto.md ("the NBD protocol"); each table names its section.
 */

/** Magic numbers; 64-bit ones as two words. */
export const Magic = {
  /** "NBDMAGIC": the first 8 bytes from the server. */
  initHigh: 0x4e42_444d,
  initLow: 0x4147_4943,
  /** "IHAVEOPT": the next 8 bytes from the server, and the start of each option. */
  optionHigh: 0x4948_4156,
  optionLow: 0x454f_5054,
  optionReplyHigh: 0x0003_e889,
  optionReplyLow: 0x0455_65a9,
  request: 0x2560_9513,
  simpleReply: 0x6744_6698,
  structuredReply: 0x668e_33ef,
} as const;

/** "Handshake flags" and "Client flags": the same bits in both directions. */
export const HandshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

/** "Transmission flags". */
export const TransmissionFlag = {
  hasFlags: 1,
  readOnly: 0x2,
  sendFlush: 0x4,
  sendFua: 0x8,
  sendTrim: 0x20,
  sendWriteZeroes: 0x40,
  sendDf: 0x80,
  canMultiConn: 0x100,
  sendCache: 0x400,
  sendFastZero: 0x800,
} as const;

/** "Option types". */
export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

/** "Option reply types". Errors have bit 31 set. */
export const OptionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errUnsup: 0x8000_0001,
  errPolicy: 0x8000_0002,
  errInvalid: 0x8000_0003,
  errTlsRequired: 0x8000_0005,
  errUnknown: 0x8000_0006,
  errShutdown: 0x8000_0007,
  errTooBig: 0x8000_0009,
} as const;

/** Information types of NBD_OPT_INFO and NBD_OPT_GO. */
export const Info = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

/** "Request types". */
export const Command = {
  read: 0,
  write: 1,
  disc: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

/** "Command flags". */
export const CommandFlag = { fua: 1, noHole: 2, df: 4, reqOne: 8, fastZero: 16 } as const;

/** "Structured reply flags" and "Structured reply types". Error chunks have bit 15 set. */
export const ChunkFlag = { done: 1 } as const;
export const Chunk = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

/** "Error values": those that this server sends. */
export const WireError = {
  ok: 0,
  perm: 1,
  io: 5,
  inval: 22,
  noSpace: 28,
  overflow: 75,
  notSup: 95,
} as const;
export type WireError = (typeof WireError)[keyof typeof WireError];

/** "base:allocation": the only metadata context, and its flags. */
export const ALLOCATION_CONTEXT = 'base:allocation';
/** The context id that this server assigns. */
export const ALLOCATION_ID = 1;
export const AllocationState = { data: 0, hole: 1, zero: 2 } as const;

/** The first message of the server ("Newstyle negotiation"). */
export const Greeting = { magic: 0, option: 8, flags: 16, bytes: 18 } as const;
/** The first message of the client. */
export const ClientFlags = { flags: 0, bytes: 4 } as const;
/** Header of an option; `length` bytes of data follow. */
export const OptionHead = { magic: 0, option: 8, length: 12, bytes: 16 } as const;
/** Header of an option reply; `length` bytes of data follow. */
export const OptionReplyHead = { magic: 0, option: 8, type: 12, length: 16, bytes: 20 } as const;
/** Reply to NBD_OPT_EXPORT_NAME; 124 zeros follow unless NO_ZEROES was negotiated. */
export const ExportAnswer = { size: 0, flags: 8, bytes: 10, zeroes: 124 } as const;
/** Payload of NBD_INFO_EXPORT. */
export const InfoExport = { type: 0, size: 2, flags: 10, bytes: 12 } as const;
/** Payload of NBD_INFO_BLOCK_SIZE. */
export const InfoBlockSize = { type: 0, minimum: 2, preferred: 6, maximum: 10, bytes: 14 } as const;

/** "Request message". The payload of a write follows. */
export const Request = {
  magic: 0,
  flags: 4,
  type: 6,
  cookie: 8,
  offset: 16,
  length: 24,
  bytes: 28,
} as const;
/** "Simple reply message". The payload of a read follows. */
export const SimpleReply = { magic: 0, error: 4, cookie: 8, bytes: 16 } as const;
/** "Structured reply chunk message"; `length` bytes follow. */
export const ChunkHead = { magic: 0, flags: 4, type: 6, cookie: 8, length: 16, bytes: 20 } as const;
/** Payloads of the chunk types. */
export const OffsetData = { offset: 0, bytes: 8 } as const;
export const OffsetHole = { offset: 0, length: 8, bytes: 12 } as const;
export const ErrorChunk = { error: 0, messageLength: 4, bytes: 6 } as const;
export const ErrorOffsetChunk = { error: 0, messageLength: 4, offset: 6, bytes: 14 } as const;
export const BlockStatus = { context: 0, bytes: 4 } as const;
export const BlockDescriptor = { length: 0, flags: 4, bytes: 8 } as const;

// Limits that the document sets or allows a server to set.
/** "Size constraints": maximum payload of one READ or WRITE, bytes. */
export const PAYLOAD_BYTES_MAX = 0x200_0000;
/** Minimum block size: any offset and length is allowed. */
export const BLOCK_BYTES_MIN = 1;
/** Longest READ with DF that a server must answer in one chunk, bytes. */
export const UNFRAGMENTED_BYTES_MAX = 65536;
/** "Conventions": maximum length of a string, bytes. */
export const STRING_BYTES_MAX = 4096;

const HIGH = 0x1_0000_0000;

/** Reads an unsigned 64-bit number at `at`; -1 if it is 2^53 or more, which is past the end of every disk. */
export function u64At(view: DataView, at: number): number {
  const high = view.getUint32(at);
  return high >= 0x20_0000 ? -1 : high * HIGH + view.getUint32(at + 4);
}

/** Writes 0 <= n < 2^53 as an unsigned 64-bit number. */
export function putU64(view: DataView, at: number, n: number): void {
  view.setUint32(at, Math.floor(n / HIGH));
  view.setUint32(at + 4, n >>> 0);
}

/** Whether [at, end) ends with a request to disconnect. */
export function endsWithDisconnect(bytes: Uint8Array, at: number, end: number): boolean {
  const start = end - Request.bytes;
  if (start < at) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (
    view.getUint32(start) === Magic.request && view.getUint16(start + Request.type) === Command.disc
  );
}
