/** Everything the pager counts. Exact after every call: the model test equates them. */
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
  faults: row('faults', 'touches that asked the pager: in + first + write + spurious + lost'),
  swapInFaults: row('faults', 'on a page in its slot: it comes'),
  zeroFillFaults: row('faults', 'on a page that was nowhere: it comes as zeros'),
  writeFaults: row('faults', 'first writes to clean pages: their stored copy is given up'),
  spuriousFaults: row('faults', 'on a page that had come meanwhile, or that is no memory now'),
  lostFaults: row('faults', 'on a page that is lost'),
  pagesIn: row('pages', 'in from their slots, those ahead too'),
  pagesPrefetched: row('pages', 'in before anybody touched them'),
  zerosPrefetched: row('pages', 'made before anybody touched them'),
  pagesOut: row('pages', 'out to a slot, packed or written'),
  pagesDropped: row('pages', 'out without work: their slot had them still'),
  pagesPutBack: row('pages', 'that nobody would take, and that stayed'),
  pagesIncompressible: row(
    'pages',
    'of those, that do not compress: they are not asked again for a while',
  ),
  pagesGone: row('pages', 'in memory by the books that their owner had given up by itself'),
  copiesDropped: row('pages', 'whose stored copy was given up while they were in memory, for room'),
  secondChances: row('pages', 'that stayed because they had been used'),
  pagesActivated: row('pages', 'in again so soon after they left that they count as hot'),
  pagesDiscarded: row('pages', 'given up by their owner'),
  swapoffPages: row('pages', 'in because their area is switched off, or their region ends'),
  overBudget: row('pages', 'in although the resident set was full and nothing would go out'),
  pagesLost: row('pages', 'whose slot could not give them back', true),
};

export type PagerCounters = Counters<PagerCounterName>;

export const pagerCounters = (): PagerCounters => new Counters<PagerCounterName>(specs);
