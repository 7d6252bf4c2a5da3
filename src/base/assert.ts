/**
 * Assertions. They are always enabled: a broken invariant stops the operation before it can return the wrong page. A
 * claim says what must hold. It is a string literal, so a check that passes allocates nothing.
 */

/** A broken internal invariant: a bug in frontswap, never a fault of a caller, a peer or a device. Please report it. */
export class InvariantError extends Error {
  override readonly name: string = 'InvariantError';
  readonly code = 'ERR_INVARIANT';

  /** @param claim what must hold */
  constructor(claim: string) {
    super(`invariant violated: ${claim}`);
  }
}

export function assert(holds: boolean, claim: string): asserts holds {
  if (!holds) throw new InvariantError(claim);
}
