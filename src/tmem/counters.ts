/**
 * What tmem counts: for the host, a client and a pool, with the meaning of Xen's `tmem-list` (its two letters in brackets)
 * where Xen has the counter. Exact after every call.
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
  refusedCapped: calls('puts refused because the payer is at its cap'),
  refusedNoSpace: calls('puts refused because the page store has no room'),
  refusedNoRows: calls('puts refused because all page or object rows are taken'),
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
  operations: calls('puts, gets and flushes asked for [Tt]'),
  errors: calls('of them, on a pool or client that does not exist [Te]'),
  lowMemory: calls('puts that found no room at first [Lm]'),
  evictions: pages('ephemeral pages evicted [Et]'),
  secondChances: pages('evictions put off once because the content is shared'),
  relinquishAsked: bytes('asked back by the host [Ra]'),
  relinquishDone: bytes('given back for it [Rt]'),
  poolsFlushed: { unit: 'pools', mustStayZero: false, help: 'pools that ended [Fp]' },
  ephemeralPages: pages('ephemeral, now [Ec]'),
  ephemeralPagesMax: pages('ephemeral, at most so far [Em]'),
  pages: pages('held now [Pc]'),
  pagesMax: pages('held at most so far [Pm]'),
  objects: objects('that have pages, now [Oc]'),
  objectsMax: objects('that have pages, at most so far [Om]'),
  contents: pages('different contents, now [Sc]'),
  contentsMax: pages('different contents, at most so far [Sm]'),
  goodEphemeralPuts: calls('puts to ephemeral pools that were stored [Ep]'),
  dedupedPuts: calls('puts whose content was there already [Gd]'),
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
  ephemeralPages: pages('ephemeral pages it pays for, now [Ec]'),
  ephemeralPagesMax: pages('ephemeral pages it paid for, at most so far [Em]'),
  persistentPages: pages('persistent pages, now'),
  bytes: bytes('payload of the pages it pays for, each in full, shared or not [cb]'),
  goodPuts: calls('puts stored'),
  goodEphemeralGets: calls('gets found in ephemeral pools [Ge]'),
  goodPersistentPuts: calls('puts stored in persistent pools [Pp]'),
  goodPersistentGets: calls('gets found in persistent pools [Gp]'),
  evictedPages: pages('ephemeral pages it paid for that were evicted'),
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
  pages: pages('held now [Pc]'),
  pagesMax: pages('held at most so far [Pm]'),
  objects: objects('that have pages, now [Oc]'),
  objectsMax: objects('that have pages, at most so far [Om]'),
  puts: calls('puts tried [pt]'),
  goodPuts: calls('puts stored [ps]'),
  dupReplaced: pages('replaced by a put over them [pr]'),
  dupFlushed: pages('dropped because a put over them was refused [pd]'),
  noMemory: calls('puts refused for want of room or rows [px]'),
  gets: calls('gets tried [gt]'),
  goodGets: calls('gets found [gs]'),
  takenByGets: pages('that left with the get that found them'),
  corruptPages: { unit: 'pages', mustStayZero: true, help: 'ephemeral pages dropped as damaged' },
  flushes: calls('page flushes tried [ft]'),
  goodFlushes: calls('page flushes that found their page [fs]'),
  objectFlushes: calls('object flushes tried [ot]'),
  goodObjectFlushes: calls('object flushes that found their object [os]'),
  flushedPages: pages('dropped by flushes of pages and objects'),
  evictedPages: pages('ephemeral pages evicted'),
};

/** Positions in `values`, the same in every client and pool: hot paths add by these, a name costs a look-up each time. */
export const hostAt: Readonly<Record<HostCounter, number>> = positionsOf(HOST_COUNTERS);
export const clientAt: Readonly<Record<ClientCounter, number>> = positionsOf(CLIENT_COUNTERS);
export const poolAt: Readonly<Record<PoolCounter, number>> = positionsOf(POOL_COUNTERS);
