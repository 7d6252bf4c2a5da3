/**
 * The counters of the host, each client and each pool. Where Xen has the counter, its `tmem-list` abbreviation is in
 * brackets and the meaning is the same. Exact after every call.
 *
 * Two equations hold at any time:
 *   pool:   pages = goodPuts - dupReplaced - dupFlushed - takenByGets - flushedPages - evictedPages - corruptPages
 *   client: puts tried = stored + the sum of its refusals
 */
import { type CounterSpec, positionsOf } from '../base/counters.ts';

const pages = (help: string): CounterSpec => ({ unit: 'pages', mustStayZero: false, help });
const calls = (help: string): CounterSpec => ({ unit: 'calls', mustStayZero: false, help });
const bytes = (help: string): CounterSpec => ({ unit: 'bytes', mustStayZero: false, help });
const objects = (help: string): CounterSpec => ({ unit: 'objects', mustStayZero: false, help });

type Refusal = 'refusedFrozen' | 'refusedCapped' | 'refusedNoSpace' | 'refusedNoRows';

const refusals: Readonly<Record<Refusal, CounterSpec>> = {
  refusedFrozen: calls('puts refused because the client is frozen'),
  refusedCapped: calls('puts refused because the paying client is at its cap'),
  refusedNoSpace: calls('puts refused because the page store has no space'),
  refusedNoRows: calls('puts refused because all page or object rows are in use'),
};

export type HostCounter =
  | Refusal
  | 'operations'
  | 'errors'
  | 'lowMemory'
  | 'evictions'
  | 'secondChances'
  | 'relinquishAsked'
  | 'relinquishDone'
  | 'poolsFlushed'
  | 'ephemeralPages'
  | 'ephemeralPagesMax'
  | 'pages'
  | 'pagesMax'
  | 'objects'
  | 'objectsMax'
  | 'contents'
  | 'contentsMax'
  | 'goodEphemeralPuts'
  | 'dedupedPuts'
  | 'corruptGets';

export const HOST_COUNTERS: Readonly<Record<HostCounter, CounterSpec>> = {
  operations: calls('puts, gets and flushes [Tt]'),
  errors: calls('of these: on a pool or client that does not exist [Te]'),
  lowMemory: calls('puts for which the store had no space at first [Lm]'),
  evictions: pages('ephemeral pages evicted [Et]'),
  secondChances: pages('skipped once by eviction because the content is shared'),
  relinquishAsked: bytes('requested by relinquish() [Ra]'),
  relinquishDone: bytes('freed by relinquish() [Rt]'),
  poolsFlushed: { unit: 'pools', mustStayZero: false, help: 'pools destroyed [Fp]' },
  ephemeralPages: pages('ephemeral pages, now [Ec]'),
  ephemeralPagesMax: pages('ephemeral pages, maximum [Em]'),
  pages: pages('pages, now [Pc]'),
  pagesMax: pages('pages, maximum [Pm]'),
  objects: objects('objects, now [Oc]'),
  objectsMax: objects('objects, maximum [Om]'),
  contents: pages('different contents, now [Sc]'),
  contentsMax: pages('different contents, maximum [Sm]'),
  goodEphemeralPuts: calls('puts stored in ephemeral pools [Ep]'),
  dedupedPuts: calls('puts that share a stored content [Gd]'),
  corruptGets: { unit: 'calls', mustStayZero: true, help: 'gets that found damaged bytes' },
  ...refusals,
};

export type ClientCounter =
  | Refusal
  | 'ephemeralPages'
  | 'ephemeralPagesMax'
  | 'persistentPages'
  | 'bytes'
  | 'goodPuts'
  | 'goodEphemeralGets'
  | 'goodPersistentPuts'
  | 'goodPersistentGets'
  | 'evictedPages';

export const CLIENT_COUNTERS: Readonly<Record<ClientCounter, CounterSpec>> = {
  ephemeralPages: pages('ephemeral pages charged to it, now [Ec]'),
  ephemeralPagesMax: pages('ephemeral pages charged to it, maximum [Em]'),
  persistentPages: pages('persistent pages, now'),
  bytes: bytes('payload of the pages charged to it, in full even if shared [cb]'),
  goodPuts: calls('puts stored'),
  goodEphemeralGets: calls('gets found in ephemeral pools [Ge]'),
  goodPersistentPuts: calls('puts stored in persistent pools [Pp]'),
  goodPersistentGets: calls('gets found in persistent pools [Gp]'),
  evictedPages: pages('ephemeral pages charged to it that were evicted'),
  ...refusals,
};

export type PoolCounter =
  | 'pages'
  | 'pagesMax'
  | 'objects'
  | 'objectsMax'
  | 'puts'
  | 'goodPuts'
  | 'dupReplaced'
  | 'dupFlushed'
  | 'noMemory'
  | 'gets'
  | 'goodGets'
  | 'takenByGets'
  | 'corruptPages'
  | 'flushes'
  | 'goodFlushes'
  | 'objectFlushes'
  | 'goodObjectFlushes'
  | 'flushedPages'
  | 'evictedPages';

export const POOL_COUNTERS: Readonly<Record<PoolCounter, CounterSpec>> = {
  pages: pages('pages, now [Pc]'),
  pagesMax: pages('pages, maximum [Pm]'),
  objects: objects('objects, now [Oc]'),
  objectsMax: objects('objects, maximum [Om]'),
  puts: calls('puts [pt]'),
  goodPuts: calls('puts stored [ps]'),
  dupReplaced: pages('replaced by a put under their key [pr]'),
  dupFlushed: pages('dropped because a put under their key was refused [pd]'),
  noMemory: calls('puts refused because no space or no row was free [px]'),
  gets: calls('gets [gt]'),
  goodGets: calls('gets found [gs]'),
  takenByGets: pages('removed by the get that found them'),
  corruptPages: { unit: 'pages', mustStayZero: true, help: 'ephemeral pages dropped as damaged' },
  flushes: calls('page flushes [ft]'),
  goodFlushes: calls('page flushes that found their page [fs]'),
  objectFlushes: calls('object flushes [ot]'),
  goodObjectFlushes: calls('object flushes that found their object [os]'),
  flushedPages: pages('dropped by page and object flushes'),
  evictedPages: pages('ephemeral pages evicted'),
};

/** Positions in `values`, the same in every client and pool. Hot paths use them: a name costs a lookup per call. */
export const hostAt: Readonly<Record<HostCounter, number>> = positionsOf(HOST_COUNTERS);
export const clientAt: Readonly<Record<ClientCounter, number>> = positionsOf(CLIENT_COUNTERS);
export const poolAt: Readonly<Record<PoolCounter, number>> = positionsOf(POOL_COUNTERS);
