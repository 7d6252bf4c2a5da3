/** What state-model.ts explores: its domains, the rules that it can leave out, and the bytes of a world. */

/** Rules that a test leaves out, to see the model fail. */
export type Rule =
  | 'protect before the copy'
  | 'commit checks for a write'
  | 'commit decides by what its swap found'
  | 'entry before stored'
  | 'copies are freed by compare-and-swap'
  | 'reads install protected pages'
  | 'drop holds a claim'
  | 'writes are reported'
  | 'protection is lifted under the claim'
  | 'pin makes the page dirty'
  | 'discard frees the slot last'
  | 'the engine installs under a claim'
  | 'a file is written before the page is stored'
  | 'a read of a file holds its claim';

export interface Domain {
  /** Accesses of each thread: r, w. */
  readonly threads: readonly string[];
  /** Calls of the engine: evict, drain, discard, pin, free (the copy of a clean page), fetch (a page from its file). */
  readonly calls: readonly ('evict' | 'drain' | 'discard' | 'pin' | 'free' | 'fetch')[];
  /** Drops of a clean page by native code. */
  readonly drops: number;
  /** Where the page is at the start. */
  readonly start: 'absent' | 'dirty' | 'clean' | 'stored';
  /** Slots in a swap file, which is written and read in steps of their own. */
  readonly isFile?: boolean;
  /** Reads of native code that fail, so that the engine reads: bit n for the n-th. */
  readonly failures?: number;
}

export const SLOTS = 4;
/** Fields of a world, by index. */
export const At = {
  state: 0,
  isPresent: 1,
  isProtected: 2,
  value: 3,
  truth: 4,
  entry: 5,
  view: 6,
  hasArrived: 7,
  isPinned: 8,
  used: 9,
  reads: 10,
  stored: 11,
  /** Behind the slots. */
  actors: 15,
} as const;
/** What a slot of a file holds before it is written. */
export const UNWRITTEN = 254;
/** Fields of an actor: call or access, step in it, locals. */
export const Own = { call: 0, pc: 1, before: 2, isProtected: 3, value: 4, slot: 5 } as const;
export const OWN_BYTES = 6;
