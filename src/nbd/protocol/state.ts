/**
 * What a session says between two calls: why it stopped, whether and why it is over, and what it counted.
 */

/** A range of received bytes lies in one of these. */
export interface Input {
  readonly bytes: Uint8Array;
  /** Of the same bytes. */
  readonly view: DataView;
}

/** Why receive() came back. */
export const SessionStop = {
  /** What is left of the input is the start of a unit: come back with more behind it. */
  input: 0,
  /** There is more to do: send the output (it may be empty), then call again, with the same rest of input. */
  output: 1,
  /** The session is over: send the output, then hang up. */
  ended: 2,
  /**
   * Bios of this batch are still under way, of an asynchronous disk: call again soon, with the same output, which belongs
   * to them until then, and the same rest of input. Nothing in it may be sent yet.
   */
  disk: 3,
} as const;
export type SessionStop = (typeof SessionStop)[keyof typeof SessionStop];

/** Why a session is over. disconnect, abort and shutdown are in order, the rest is somebody's fault. */
export const SessionEnd = {
  none: 0,
  disconnect: 1,
  abort: 2,
  shutdown: 3,
  clientFlags: 4,
  optionMagic: 5,
  optionLength: 6,
  optionCount: 7,
  exportUnknown: 8,
  requestMagic: 9,
  writeLength: 10,
  readFailed: 11,
  exportInUse: 12,
} as const;
export type SessionEnd = (typeof SessionEnd)[keyof typeof SessionEnd];

/** One line of log for each end, as a reason. */
export const END_TEXT: readonly string[] = [
  'still open',
  'disconnected',
  'aborted the negotiation',
  'server shuts down',
  'sent unknown client flags',
  'sent an option without its magic number',
  'sent an option of more than 65536 bytes',
  'sent more than 128 options',
  'asked for an unknown export in a way that allows no reply',
  'sent a request without its magic number',
  'announced a write of more than 32 MiB',
  'was sent the head of a reply whose data could then not be read',
  'asked for an export that another client has open, in a way that allows no reply',
];

/** Whether an end deserves a line of log. */
export const isFault = (end: SessionEnd): boolean => end > SessionEnd.shutdown;

/** Counters of a server, one Float64Array for all its sessions. Values only grow. */
export const Counter = {
  reads: 0,
  writes: 1,
  flushes: 2,
  trims: 3,
  caches: 4,
  writeZeroes: 5,
  blockStatuses: 6,
  /** Payload bytes of reads asked for. */
  readBytes: 7,
  /** Payload bytes of writes taken. */
  writeBytes: 8,
  /** Requests answered with an error of the client's making. */
  refusals: 9,
  /** Requests that a disk failed. Must stay 0 on a healthy disk. */
  failures: 10,
} as const;
export const COUNTER_COUNT = 11;
