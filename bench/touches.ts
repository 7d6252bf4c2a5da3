/**
 * The workload of the memory bench: a region of pages, a smaller resident budget, and patterns of accesses (touches).
 * This file specifies it; bench/reference/pager.c (the kernel's paging) and region-child.ts (ours) both implement it,
 * touch for touch. Every contender reports a hash of the pages touched, which proves it.
 *
 *   word 0 of page p   tag: (p + 1) x 0x9e3779b1 xor writes[p]   32 bits, little-endian
 *   the rest           page p mod n of the n corpus pages
 *   writes[p]          how often p was written since its fill, modulo 256; outside the region, always resident
 *
 *   fill-seq     every page in order: the corpus page is copied in, writes[p] = 0, tagged       first touch
 *   seq-read     every page in order: word 0 is read and compared
 *   seq-write    every page in order: writes[p]++, word 0 is stored (not read first)
 *   rand-read    `touches` pages of the sequence of `seed`, read and compared
 *   rand-write   `touches` pages of the sequence of `seed + 1`, written
 *   check        as seq-read: verifies every write
 *   evict        four times: the next quarter budget of pages is written in order, evicted in one call, read and
 *                compared, and evicted again. Only the first eviction is timed; `pages` counts those that were
 *                resident before it and are not after it
 *
 * Times are wall times: a pager may work on another core while the touch waits. The clock is read once per touch; a
 * touch takes the time since the previous reading. Processor time is that of all threads of the contender.
 */

export const patterns: readonly string[] = [
  ...['fill-seq', 'seq-read', 'seq-write', 'rand-read', 'rand-write', 'check', 'evict'],
];
const EVICT_PASSES = 4;
const PAGE_BYTES = 4096;
/** Largest region whose random pages are exact in double precision: 2^32 x 2^21 = 2^53. */
const PAGES_MAX = 2 ** 21;

export interface Plan {
  readonly regionBytes: number;
  /** Maximum resident bytes; less than the region. */
  readonly budgetBytes: number;
  /** A file of full corpus pages. */
  readonly pagesFile: string;
  /** Touches of a random pattern. */
  readonly touches: number;
  readonly seed: number;
}

/** A contender's result for one pattern: one line of JSON. */
export interface PhaseResult {
  readonly phase: string;
  readonly pages: number;
  readonly wallNs: number;
  readonly cpuNs: number;
  readonly hash: number;
  /** Per touch; absent where touches are not timed. */
  readonly p50Ns?: number;
  readonly p99Ns?: number;
  /** Of 201 touches, evenly spaced in the order of their times: the shortest first, the longest last. */
  readonly quantilesNs?: readonly number[];
}

export interface PagerContender {
  readonly name: string;
  /** Why it cannot run on this machine; null if it can. */
  readonly missing: string | null;
  /** Runs `patterns` in order, the first of them fill-seq, on a separate region. */
  run(patterns: readonly string[], plan: Plan): Promise<readonly PhaseResult[]>;
}

/** Throws if pager.c and double precision would not follow the plan identically. */
export function checkPlan(plan: Plan): void {
  const pages = plan.regionBytes / PAGE_BYTES;
  const budget = plan.budgetBytes / PAGE_BYTES;
  if (!Number.isInteger(pages) || pages < 1 || pages > PAGES_MAX)
    throw new Error(`region: ${plan.regionBytes} bytes are not 1 .. ${PAGES_MAX} full pages`);
  if (!Number.isInteger(budget) || budget < EVICT_PASSES || budget >= pages)
    throw new Error(
      `budget: ${plan.budgetBytes} bytes are not full pages, fewer than the region's`,
    );
}

/** Page of touch `i` of the random sequence of `seed`: splitmix32 of the counter, scaled to the region. */
export function randomPage(seed: number, i: number, pages: number): number {
  const state = (seed + Math.imul(i + 1, 0x9e3779b9)) | 0;
  let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return Math.floor((((z ^ (z >>> 15)) >>> 0) * pages) / 0x1_0000_0000);
}

const HASH_START = 0x811c9dc5;

/** One step of FNV-1a, with a page number in place of a byte. */
function hashed(hash: number, page: number): number {
  return Math.imul(hash ^ page, 0x01000193);
}

/** The hash that a contender must report for a pattern. */
export function hashOf(pattern: string, plan: Plan): number {
  const pages = plan.regionBytes / PAGE_BYTES;
  let hash = HASH_START;
  if (pattern.startsWith('rand-')) {
    const seed = pattern === 'rand-read' ? plan.seed : plan.seed + 1;
    for (let i = 0; i < plan.touches; i++) hash = hashed(hash, randomPage(seed, i, pages));
  } else {
    const quarter = Math.floor(plan.budgetBytes / PAGE_BYTES / EVICT_PASSES);
    const count = pattern === 'evict' ? EVICT_PASSES * quarter : pages;
    for (let page = 0; page < count; page++) hash = hashed(hash, page);
  }
  return hash >>> 0;
}

/** Parses and checks the lines of one run: every pattern in order, with the pages of the plan. */
export function parsePhases(
  lines: readonly string[],
  requested: readonly string[],
  plan: Plan,
): PhaseResult[] {
  const results = lines.map((line) => JSON.parse(line) as PhaseResult);
  const phases = results.map((r) => r.phase);
  if (phases.join() !== requested.join())
    throw new Error(`requested ${requested.join(', ')}; reported ${phases.join(', ')}`);
  for (const { phase, hash, pages, wallNs } of results) {
    if (hash !== hashOf(phase, plan)) throw new Error(`${phase} touched other pages than planned`);
    if (!(pages > 0 && wallNs > 0)) throw new Error(`${phase} measured nothing`);
  }
  return results;
}
