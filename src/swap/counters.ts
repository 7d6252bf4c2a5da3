/** The counters of the swap core. Exact after every call; docs/design/swap.md has the equations that tests check. */
import { type CounterSpec, Counters } from '../base/counters.ts';

const row = (unit: string, help: string, mustStayZero = false): CounterSpec => ({
  unit,
  help,
  mustStayZero,
});

export type SwapCounterName =
  | 'slotsTaken'
  | 'slotsFreed'
  | 'noSlot'
  | 'cacheOnlyReclaimed'
  | 'pagesOut'
  | 'zeroOut'
  | 'frontswapOut'
  | 'writeBios'
  | 'freedOut'
  | 'busyOut'
  | 'writeErrors'
  | 'pagesIn'
  | 'cacheHits'
  | 'zeroIn'
  | 'frontswapIn'
  | 'readBios'
  | 'bypassed'
  | 'refusedIn'
  | 'readErrors'
  | 'corruptLoads'
  | 'readAheadBios'
  | 'readAheadHits'
  | 'discardBios'
  | 'discardErrors'
  | 'discardWaits'
  | 'discardScanned'
  | 'pagesUnused'
  | 'writebackBios'
  | 'writebackPages'
  | 'writebackStale'
  | 'writebackErrors'
  | 'writebackDamaged'
  | 'writebackWaits';

const specs: Readonly<Record<SwapCounterName, CounterSpec>> = {
  slotsTaken: row('slots', 'allocated'),
  slotsFreed: row('slots', 'freed; taken - freed = in use'),
  noSlot: row('requests', 'for a slot, refused because none was free'),
  cacheOnlyReclaimed: row('slots', 'freed from clean pages in memory because no other was free'),
  pagesOut: row('pages', 'to swap out: zero + frontswap + bios + freed + busy'),
  zeroOut: row('pages', 'all zeros, stored as a bit'),
  frontswapOut: row('pages', 'stored in frontswap, no bio'),
  writeBios: row('bios', 'page writes submitted to a disk'),
  freedOut: row('pages', 'to swap out whose slot had no reference left'),
  busyOut: row('pages', 'not written because no bio was free'),
  writeErrors: row('bios', 'writes that failed; the page stayed in memory', true),
  pagesIn: row(
    'pages',
    'to swap in: cache hits + zero + frontswap + read bios + refused + corrupt',
  ),
  cacheHits: row('pages', 'found in the swap cache'),
  zeroIn: row('pages', 'filled with zeros from their bit'),
  frontswapIn: row('pages', 'loaded from frontswap, no bio'),
  readBios: row('bios', 'page reads submitted for a page fault'),
  bypassed: row('pages', 'swapped in without entering the swap cache'),
  refusedIn: row('pages', 'not swapped in: no frame, no bio, or a bad entry'),
  readErrors: row('bios', 'reads that failed, read-ahead included', true),
  corruptLoads: row('pages', 'that frontswap reported corrupt', true),
  readAheadBios: row('bios', 'page reads submitted as read-ahead'),
  readAheadHits: row('pages', 'read ahead and then used'),
  discardBios: row('bios', 'discards submitted'),
  discardErrors: row('bios', 'discards that failed; no page is affected', false),
  discardWaits: row('attempts', 'to discard while no bio was free'),
  discardScanned: row('slots', 'checked by the periodic scan for discardable slots'),
  pagesUnused: row('pages', 'read back by swapoff or shrink'),
  writebackBios: row('bios', 'writeback: writes submitted; pages + stale + errors + in flight'),
  writebackPages: row('pages', 'writeback: on the disk, dropped from frontswap'),
  writebackStale: row('bios', 'writeback: page freed or modified during the write; write ignored'),
  writebackErrors: row('bios', 'writeback: writes that failed; the page stayed in frontswap', true),
  writebackDamaged: row('pages', 'writeback: corrupt in frontswap, left there', true),
  writebackWaits: row('attempts', 'writeback: to write while no bio or frame was free'),
};

export type SwapCounters = Counters<SwapCounterName>;
export const swapCounters = (): SwapCounters => new Counters<SwapCounterName>(specs);
