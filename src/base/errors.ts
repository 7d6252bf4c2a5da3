/**
 * Errors with a stable code. Match on `code`, never on the text or the class.
 * Families: ERR_ARG_* (the caller), ERR_PEER_* (who is connected to us), ERR_IO_* (a device or the system);
 * a `InvariantError` (assert.ts) is ours. docs/reference/errors.md lists every code: meaning, who acts, exit status.
 */
export type ErrorCode =
  | 'ERR_ARG_VALUE' // an option or argument has an unusable value
  | 'ERR_ARG_UNKNOWN' // an option, command, column or name that does not exist
  | 'ERR_ARG_CONFLICT' // two options that exclude each other, or a name used twice
  | 'ERR_ARG_AREA' // a swap area that is on already, is not on, is one too many or too small
  | 'ERR_IO_SWAP_HEADER' // the first page of a disk is not the header of a swap area that can be used
  | 'ERR_IO_IN_USE' // an address, path or disk that something running holds
  | 'ERR_IO_NOT_REACHABLE' // no daemon answers on the control socket
  | 'ERR_IO_LOCAL_ONLY' // a disk is served only where the one who shall use it cannot reach it
  | 'ERR_IO_UNSAFE_PATH' // a file or folder that somebody else could tamper with
  | 'ERR_IO_ENDED' // an adapter to a store is closed, or what it leads to is gone; facts.reason
  | 'ERR_IO_UNSUPPORTED' // this system cannot do what is asked; facts.reason, and `frontswap doctor` says more
  | 'ERR_IO_NO_ROOM' // pages cannot be kept in memory, or brought home: the budget or the memory is used up
  | 'ERR_IO_LOST' // a stored page could not be brought back
  | 'ERR_IO_NO_PROGRAM' // a program that is to run is not found
  | 'ERR_IO_NOT_EXECUTABLE' // a program that is to run cannot be executed; facts.errno
  | 'ERR_IO_SYSTEM' // a system call failed; facts.errno
  | 'ERR_PEER_PROTOCOL' // the other side broke the protocol
  | 'ERR_PEER_UNFIT'; // the other side is not one to keep pages; facts.reason

/** What happened, to what, and what to do, with facts for a program to read. */
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
