/** What the store answers and counts. "No" is an answer, never an exception. */

export const Put = {
  stored: 0,
  /** Stored without payload: the page repeats one 8-byte word. */
  sameFilled: 1,
  /** The byte ceiling, or address space, has no room. The slot holds what it held before. */
  refused: 2,
  /** Packs to more than the caller wants kept. The slot holds what it held before. */
  poor: 3,
} as const;
export type Put = (typeof Put)[keyof typeof Put];

export const Get = {
  found: 0,
  /** Nothing is stored under the slot. */
  absent: 1,
  /** The stored bytes fail their checksum or do not unpack: an I/O error, never data. */
  corrupt: 2,
} as const;
export type Get = (typeof Get)[keyof typeof Get];

/** Places of a shard's counters. The first four, zeroPages and goodPages say what is held now, the others what has happened. */
export const CounterAt = {
  storedPages: 0,
  samePages: 1,
  rawPages: 2,
  /** Bytes of stored payload: packed lengths, 4096 for a raw page, none for same-filled ones. */
  storedBytes: 3,
  /** Puts refused because the byte ceiling was reached. */
  refusedByLimit: 4,
  /** Puts refused because the shard has no run of free pages left: must stay 0. */
  refusedBySpace: 5,
  /** Gets that found bad bytes: must stay 0. */
  corruptions: 6,
  /** Objects moved by compaction. */
  moves: 7,
  /** Pages that compaction freed. */
  compactedPages: 8,
  /** Same-filled pages that are all zero. */
  zeroPages: 9,
  /** Packed pages of at most half a page. */
  goodPages: 10,
  /** Puts answered with `poor`. */
  refusedPoor: 11,
  count: 12,
} as const;
