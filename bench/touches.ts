/**
 * What a pager is measured by: a region of pages, a resident budget that is smaller, and patterns of touches. This file
 * is the description that bench/reference/pager.c (the kernel's paging) and a pager's own child program both follow,
 * touch for touch; the hash of the pages touched, which every contender reports, shows that they do.
 *
 *   word 0 of page p   tag: (p + 1) x 0x9e3779b1 xor writes[p]   32 bits, little-endian
 *   the rest           page p mod n of the n corpus pages
 *   writes[p]          how often p was written since its fill, modulo 256; beside the region, always resident
 *
 *   fill-seq     every page in order: the corpus page is copied in, writes[p] = 0, tagged       first touch of all
 *   seq-read     every page in order: word 0 is read and compared
 *   seq-write    every page in order: writes[p]++, word 0 is stored (not read first)
 *   rand-read    `touches` pages of the sequence of `seed`, read and compared
 *   rand-write   `touches` pages of the sequence of `seed + 1`, written
 *   check        as seq-read: all that was written came through
 *   evict        four times over, the next quarter budget of pages is written in order, pushed out as a whole, read
 *                and compared, and pushed out again. Only the first pushing out is timed; «pages» are those that were
 *                resident before it and are not after it
 *
 * Time is the wall's: a pager may work on another core, and a touch waits all the same. The clock is read once a touch,
 * the touch's time being the distance to the reading before; processor time is of all threads of the contender.
 */

export const patterns: readonly string[] = [
  ...['fill-seq', 'seq-read', 'seq-write', 'rand-read', 'rand-write', 'check', 'evict'],
];
const EVICT_PASSES = 4;
const PAGE_BYTES = 4096;
/** Up to here a random page is exact in double precision: 2^32 x 2^21 = 2^53. */
const PAGES_MAX = 2 ** 21;

export interface Plan {
  readonly regionBytes: number;
  /** Resident at most; less than the region. */
  readonly budgetBytes: number;
  /** A file of whole corpus pages. */
  readonly pagesFile: string;
  /** Touches of a random pattern. */
  readonly touches: number;
  readonly seed: number;
}

/** What a contender says of one pattern, a line of JSON. */
export interface PhaseResult {
  readonly phase: string;
  readonly pages: number;
  readonly wallNs: number;
  readonly cpuNs: number;
  readonly hash: number;
  /** Of one touch; absent where touches are not what is timed. */
  readonly p50Ns?: number;
  readonly p99Ns?: number;
}

export interface PagerContender {
  readonly name: string;
  /** Why it cannot run here; null when it can. */
  readonly missing: string | null;
  /** Runs `patterns` in order, the first of them fill-seq, on a region of its own. */
  run(patterns: readonly string[], plan: Plan): Promise<readonly PhaseResult[]>;
}

/** Throws when a plan is one that pager.c and double precision cannot follow alike. */
export function checkPlan(plan: Plan): void {
  const pages = plan.regionBytes / PAGE_BYTES;
  const budget = plan.budgetBytes / PAGE_BYTES;
  if (!Number.isInteger(pages) || pages < 1 || pages > PAGES_MAX)
    throw new Error(`a region of ${plan.regionBytes} bytes is not 1 to ${PAGES_MAX} whole pages`);
  if (!Number.isInteger(budget) || budget < EVICT_PASSES || budget >= pages)
    throw new Error(
      `a budget of ${plan.budgetBytes} bytes is not whole pages, fewer than the region's`,
    );
}

/** Touch `i` of the random sequence of `seed`: splitmix32 by its counter, scaled to the region. */
export function randomPage(seed: number, i: number, pages: number): number {
  const state = (seed + Math.imul(i + 1, 0x9e3779b9)) | 0;
  let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return Math.floor((((z ^ (z >>> 15)) >>> 0) * pages) / 0x1_0000_0000);
}

const HASH_START = 0x811c9dc5;

/** FNV-1a's step, with a page's number for a byte. */
function hashed(hash: number, page: number): number {
  return Math.imul(hash ^ page, 0x01000193);
}

/** The hash that a contender has to report for a pattern. */
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

/** The lines of one run, checked: every pattern in order, and the pages touched are those of the plan. */
export function parsePhases(
  lines: readonly string[],
  wanted: readonly string[],
  plan: Plan,
): PhaseResult[] {
  const results = lines.map((line) => JSON.parse(line) as PhaseResult);
  const phases = results.map((r) => r.phase);
  if (phases.join() !== wanted.join())
    throw new Error(`asked for ${wanted.join(', ')}; answered were ${phases.join(', ')}`);
  for (const { phase, hash, pages, wallNs } of results) {
    if (hash !== hashOf(phase, plan)) throw new Error(`${phase} touched other pages than planned`);
    if (!(pages > 0 && wallNs > 0)) throw new Error(`${phase} measured nothing`);
  }
  return results;
}
