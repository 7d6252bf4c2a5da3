/** Results and counters of the store. A refusal is a result, never an exception. */

/** Result of Store.put(). */
export const PutResult = {
  stored: 0,
  /** Stored without payload: the page repeats one 8-byte word. */
  sameFilled: 1,
  /** The memory limit or the address space is exhausted. The slot is unchanged. */
  refused: 2,
  /** The page compresses to more than `payloadMax` bytes. The slot is unchanged. */
  incompressible: 3,
} as const;
export type PutResult = (typeof PutResult)[keyof typeof PutResult];

/** Result of Store.get(). Only `found` writes the target. */
export const GetResult = {
  found: 0,
  /** Nothing is stored under the slot. */
  absent: 1,
  /** The stored bytes fail their checksum or do not decompress: an I/O error, never data. */
  corrupt: 2,
} as const;
export type GetResult = (typeof GetResult)[keyof typeof GetResult];

/** Result of Store.recompress(). Only `smaller` changes what is stored. */
export const RecompressResult = {
  /** The page now needs less memory. */
  smaller: 0,
  /** Unchanged: same-filled, already dense, tried before or not smaller, or the store has no dense codec. */
  kept: 1,
  /** Unchanged: no space for the new form, which is written before the old one is freed. */
  noSpace: 2,
  /** Nothing is stored under the slot. */
  absent: 3,
  /** Like GetResult.corrupt; the damaged bytes stay. */
  corrupt: 4,
} as const;
export type RecompressResult = (typeof RecompressResult)[keyof typeof RecompressResult];

/**
 * Indexes of a shard's counters. Those named ...Pages (except compactedPages) and storedBytes are current values, the
 * others count events.
 */
export const CounterAt = {
  storedPages: 0,
  samePages: 1,
  rawPages: 2,
  /** Stored payload bytes: compressed lengths, 4096 per raw page, 0 per same-filled page. */
  storedBytes: 3,
  /** Puts refused because the memory limit was reached. */
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
  /** Pages that it tried and left unchanged: the new form was not a size class smaller. */
  recompressKept: 11,
  /** Pages that it left unchanged because there was no space for the new form. */
  recompressNoSpace: 12,
  /** Same-filled pages that are all zero. */
  zeroPages: 13,
  /** Pages that compress to at most half a page. */
  goodPages: 14,
  /** Puts that returned `incompressible`. */
  refusedIncompressible: 15,
  /** Of the stored pages: compressed with a filter (pages of numbers). */
  filteredPages: 16,
  /** Puts that tried a filter in vain: it did not save an eighth. */
  filterMissed: 17,
  count: 18,
} as const;
