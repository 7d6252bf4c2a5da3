/**
 * The state of a session between calls: why receive() returned, why the session ended, and its counters.
 */

/** Why receive() returned. */
export const SessionStop = {
  /** The rest of the input is an incomplete unit: call again when more bytes have arrived. */
  input: 0,
  /** More work is left: send the output, which may be empty, then call again with the same rest of the input. */
  output: 1,
  /** The session is over: send the output, then disconnect. */
  ended: 2,
  /**
   * Bios of this batch are in flight on an asynchronous disk: call again soon, with the same output and the same rest of the
   * input. Until then the bios use the output, so it must not be sent.
   */
  disk: 3,
  /**
   * The client starts TLS: send the output, complete the TLS handshake, call secured(), then pass decrypted bytes. All
   * input has been processed.
   */
  startTls: 4,
  /**
   * Another thread must continue the negotiation: send the output, then pass the state of the session and the rest of the input
   * to that thread. `handOverTo` is the export that the client requests; null: an export that this thread does not serve.
   */
  handOver: 5,
} as const;
export type SessionStop = (typeof SessionStop)[keyof typeof SessionStop];

/**
 * TLS in a session: `off`: not supported; `on`: the client chooses; `require`: before any other option. In the protocol these
 * are NOTLS, SELECTIVETLS (with no export that requires TLS) and FORCEDTLS.
 */
export type TlsMode = 'off' | 'on' | 'require';

/** Why a session ended. disconnect, abort and shutdown are normal; the others are errors. */
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
  tlsRequired: 13,
  plainAfterStartTls: 14,
} as const;
export type SessionEnd = (typeof SessionEnd)[keyof typeof SessionEnd];

/** Text for the log, indexed by SessionEnd. */
export const END_TEXT: readonly string[] = [
  'session open',
  'client disconnected',
  'client aborted the negotiation',
  'server is shutting down',
  'unknown client flags',
  'bad option magic',
  'option data exceeds 65536 bytes',
  'more than 128 options',
  'NBD_OPT_EXPORT_NAME: unknown export',
  'bad request magic',
  'write request exceeds 32 MiB',
  'read failed after the reply header was sent',
  'NBD_OPT_EXPORT_NAME: export in use by another client',
  'NBD_OPT_EXPORT_NAME: TLS required',
  'NBD_OPT_STARTTLS: more unencrypted data after it',
];

/** Whether an end is logged as an error. */
export const isError = (end: SessionEnd): boolean => end > SessionEnd.shutdown;

/** Counters of a server: one Float64Array for all its sessions. They only increase. */
export const Counter = {
  reads: 0,
  writes: 1,
  flushes: 2,
  trims: 3,
  caches: 4,
  writeZeroes: 5,
  blockStatuses: 6,
  /** Bytes of read requests. */
  readBytes: 7,
  /** Bytes of write requests. */
  writeBytes: 8,
  /** Requests refused because of an error of the client. */
  refusals: 9,
  /** Requests that failed on a disk. Must stay 0 on a healthy disk. */
  failures: 10,
} as const;
export const COUNTER_COUNT = 11;
