/**
 * Claims that hold unless this software is wrong. Always on: a broken invariant stops the operation before it can return
 * somebody else's page. Claims are literals, so a check that holds allocates nothing.
 */

/** An invariant of ours does not hold: never caused by a caller, a peer or a device. Please report it. */
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
