/**
 * Errors with a stable code. Match on `code`, never on the message or the class.
 * Families: ERR_ARG_* (the caller), ERR_PEER_* (the other end of a connection), ERR_IO_* (a device or the system).
 * An `InvariantError` (assert.ts) is a bug in frontswap. docs/reference/errors.md lists the meaning of every code, who
 * must act, and the exit status.
 */
export type ErrorCode =
  | 'ERR_ARG_VALUE' // an option or argument has an invalid value
  | 'ERR_ARG_UNKNOWN' // an option, command, column or name does not exist
  | 'ERR_ARG_CONFLICT' // two options exclude each other, or a name is used twice
  | 'ERR_ARG_AREA' // a swap area is already on, is not on, is too small, or exceeds the number of areas
  | 'ERR_ARG_CONSTRUCTOR' // a class of handles that frontswap returns was called with `new`
  | 'ERR_IO_SWAP_HEADER' // the first page of a disk is not the header of a usable swap area
  | 'ERR_IO_IN_USE' // a running process uses the address, path or disk
  | 'ERR_IO_NOT_REACHABLE' // no daemon answers on the control socket
  | 'ERR_IO_LOCAL_ONLY' // the disk is not served on an address that its client can reach
  | 'ERR_IO_UNSAFE_PATH' // another user could modify the file or folder
  | 'ERR_IO_ENDED' // a swap, region, array, cache or adapter is used after its end; facts.reason
  | 'ERR_IO_UNSUPPORTED' // the system lacks a required feature; facts.reason, details in `frontswap doctor`
  | 'ERR_IO_NO_ROOM' // the budget or the memory is exhausted: pages can be neither stored nor swapped in
  | 'ERR_IO_LOST' // a stored page could not be read back
  | 'ERR_IO_NO_PROGRAM' // the program to run is not found
  | 'ERR_IO_NOT_EXECUTABLE' // the program to run cannot be executed; facts.errno
  | 'ERR_IO_PROGRAM_FAILED' // the program to measure ended with an error; facts.status, facts.signal
  | 'ERR_IO_IMAGE' // an image or a saved user is torn, foreign or of another layout: it is not adopted; facts.reason
  | 'ERR_IO_SYSTEM' // a system call failed; facts.errno
  | 'ERR_PEER_PROTOCOL' // the peer violated the protocol
  | 'ERR_PEER_UNFIT'; // the peer cannot keep pages reliably; facts.reason

/** The message says what happened, to what, and what to do; `facts` has the same information for programs. */
export class SwapError extends Error {
  override readonly name: string = 'SwapError';
  readonly code: ErrorCode;
  readonly facts: Readonly<Record<string, number | string>>;

  constructor(
    code: ErrorCode,
    message: string,
    facts: SwapError['facts'] = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.facts = facts;
  }
}
