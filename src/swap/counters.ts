/** Everything the swap core counts. Exact: tests equate them after every step (docs/design/swap.md has the equations). */
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
  slotsTaken: row('slots', 'handed out'),
  slotsFreed: row('slots', 'given back; taken - freed = in use'),
  noSlot: row('requests', 'for a slot when none was free'),
  cacheOnlyReclaimed: row(
    'slots',
    'held by nothing but the swap cache, taken back for lack of slots',
  ),
  pagesOut: row('pages', 'asked out: zero + frontswap + bios + freed + busy'),
  zeroOut: row('pages', 'out as a bit: all bytes were 0'),
  frontswapOut: row('pages', 'out to a frontswap backend, no bio'),
  writeBios: row('bios', 'pages sent to a disk'),
  freedOut: row('pages', 'asked out when nobody referred to them any more'),
  busyOut: row('pages', 'not written because no bio was left'),
  writeErrors: row('bios', 'ended with an error; the page stayed in memory', true),
  pagesIn: row('pages', 'asked in: cache hits + zero + frontswap + read bios + every refusal'),
  cacheHits: row('pages', 'found in the swap cache'),
  zeroIn: row('pages', 'in from a bit'),
  frontswapIn: row('pages', 'in from a frontswap backend, no bio'),
  readBios: row('bios', 'pages asked of a disk because somebody waits'),
  bypassed: row('pages', 'in from a synchronous disk or a backend past the swap cache'),
  refusedIn: row('pages', 'not brought in: no frame, no bio, or nobody refers to the slot'),
  readErrors: row('bios', 'reads ended with an error, read-ahead included', true),
  corruptLoads: row('pages', 'a frontswap backend found damaged', true),
  readAheadBios: row('bios', 'pages asked of a disk before anybody waits'),
  readAheadHits: row('pages', 'read ahead and then asked for'),
  discardBios: row('bios', 'discards sent'),
  discardErrors: row('bios', 'discards refused by the disk; harmless', false),
  discardWaits: row('attempts', 'to discard when the reserve of bios was out'),
  discardScanned: row('slots', 'looked at by the periodic scan for dead pages'),
  pagesUnused: row('pages', 'back in memory for a swapoff or a shrink'),
  writebackBios: row(
    'bios',
    'writeback: pages of frontswap sent to a disk; pages + stale + errors + under way',
  ),
  writebackPages: row('pages', 'writeback: given up by frontswap, for the disk has them'),
  writebackStale: row('bios', 'writeback: ended when the page was freed or changed; not believed'),
  writebackErrors: row(
    'bios',
    'writeback: ended with an error; the page stayed in frontswap',
    true,
  ),
  writebackDamaged: row('pages', 'writeback: found damaged in frontswap, and left there', true),
  writebackWaits: row('attempts', 'writeback: no bio or no frame was left'),
};

export type SwapCounters = Counters<SwapCounterName>;
export const swapCounters = (): SwapCounters => new Counters<SwapCounterName>(specs);
