/**
 * Claims that hold unless this software is wrong. Always on: a broken invariant stops the operation
 * before it can hand out somebody else's page. Claims are literals, so a check allocates nothing.
 */

/** A broken invariant of ours: never caused by a caller, a peer or a device. */
export class Bug extends Error {
  override readonly name: string = 'Bug';
}

export function assert(holds: boolean, claim: string): asserts holds {
  if (!holds) throw new Bug(claim);
}
