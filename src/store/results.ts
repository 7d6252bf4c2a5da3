/** What the store answers and counts. "No" is an answer, never an exception. */

export const PutResult = {
  stored: 0,
  /** Stored without payload: the page repeats one 8-byte word. */
  sameFilled: 1,
  /** The byte ceiling, or address space, has no room. The slot holds what it held before. */
  refused: 2,
  /** Packs to more than the caller wants kept. The slot holds what it held before. */
  incompressible: 3,
} as const;
export type PutResult = (typeof PutResult)[keyof typeof PutResult];

export const GetResult = {
  found: 0,
  /** Nothing is stored under the slot. */
  absent: 1,
  /** The stored bytes fail their checksum or do not unpack: an I/O error, never data. */
  corrupt: 2,
} as const;
export type GetResult = (typeof GetResult)[keyof typeof GetResult];

export const RecompressResult = {
  /** The page takes less room now. */
  smaller: 0,
  /** It is as it was: same-filled, dense, tried before, or not to be made smaller; or the store has no dense codec. */
  kept: 1,
  /** It is as it was: there is no room for the new form, which must be there before the old one goes. */
  noRoom: 2,
  /** Nothing is stored under the slot. */
  absent: 3,
  /** As Get.corrupt: the damaged bytes stay. */
  corrupt: 4,
} as const;
export type RecompressResult = (typeof RecompressResult)[keyof typeof RecompressResult];

/** Places of a shard's counters. Those called ...Pages (but compactedPages) and storedBytes say what is held now, the others what has happened. */
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
  /** Of the stored pages: in the dense format. */
  densePages: 9,
  /** Pages that recompress() made smaller. */
  recompressed: 10,
  /** Pages that it tried and left: their new form was not a size class smaller. */
  recompressKept: 11,
  /** Pages that it left because there was no room for the new form beside the old one. */
  recompressNoRoom: 12,
  /** Same-filled pages that are all zero. */
  zeroPages: 13,
  /** Packed pages of at most half a page. */
  goodPages: 14,
  /** Puts answered with `poor`. */
  refusedIncompressible: 15,
  /** Of the stored pages: numbers, packed behind a filter. */
  filteredPages: 16,
  /** Puts that packed a page behind a filter in vain: it was not smaller by an eighth. */
  filterMissed: 17,
  count: 18,
} as const;
