/** The pager's counters. They are exact after every call; the model test checks the equations between them. */
import { type CounterSpec, Counters } from '../base/counters.ts';

const row = (unit: string, help: string, mustStayZero = false): CounterSpec => ({
  unit,
  help,
  mustStayZero,
});

export type PagerCounterName =
  | 'faults'
  | 'swapInFaults'
  | 'zeroFillFaults'
  | 'writeFaults'
  | 'spuriousFaults'
  | 'lostFaults'
  | 'pagesIn'
  | 'pagesPrefetched'
  | 'zerosPrefetched'
  | 'pagesOut'
  | 'pagesDropped'
  | 'pagesPutBack'
  | 'pagesBusy'
  | 'pagesIncompressible'
  | 'pagesGone'
  | 'copiesDropped'
  | 'secondChances'
  | 'pagesActivated'
  | 'pagesDiscarded'
  | 'swapoffPages'
  | 'overBudget'
  | 'pagesLost';

const specs: Readonly<Record<PagerCounterName, CounterSpec>> = {
  faults: row('faults', 'page faults served: swap-in + zero-fill + write + spurious + lost'),
  swapInFaults: row('faults', 'on stored pages, resolved by a swap-in'),
  zeroFillFaults: row('faults', 'on absent pages, resolved with zeros'),
  writeFaults: row('faults', 'first writes to clean pages; each frees the stored copy'),
  spuriousFaults: row('faults', 'on pages already resident, no longer mapped, or busy'),
  lostFaults: row('faults', 'on lost pages'),
  pagesIn: row('pages', 'swapped in, prefetched ones included'),
  pagesPrefetched: row('pages', 'swapped in before they were accessed'),
  zerosPrefetched: row('pages', 'zero-filled before they were accessed'),
  pagesOut: row('pages', 'swapped out: compressed, or written to a device'),
  pagesDropped: row('pages', 'evicted without I/O: the stored copy was still valid'),
  pagesPutBack: row('pages', 'chosen for eviction, then kept: busy, or refused by every tier'),
  pagesBusy: row('pages', 'of those, kept because the program was using them'),
  pagesIncompressible: row('pages', 'of those, kept because they do not compress; retried later'),
  pagesGone: row('pages', 'resident in the page table, but dropped by their owner'),
  copiesDropped: row('pages', 'whose stored copy was freed for space while they were resident'),
  secondChances: row('pages', 'kept once because they had been referenced'),
  pagesActivated: row('pages', 'swapped in so soon after eviction that they count as hot'),
  pagesDiscarded: row('pages', 'discarded by their owner'),
  swapoffPages: row('pages', 'swapped in because their area or their region ends'),
  overBudget: row('pages', 'made resident above the ceiling because nothing could be evicted'),
  pagesLost: row('pages', 'whose slot could not be read back', true),
};

export type PagerCounters = Counters<PagerCounterName>;

export const pagerCounters = (): PagerCounters => new Counters<PagerCounterName>(specs);
