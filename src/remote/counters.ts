/**
 * Counters of the remote tier, with RAMster's names where they exist (Linux 3.9,
 * drivers/staging/zcache/ramster/debug.c).
 */
import type { CounterSpec } from '../base/counters.ts';

/** Names of the remote tier's counters; `remoteCounters` has unit and help of each. */
export type RemoteCounter =
  | 'pers_pages_remoted'
  | 'pers_pages_remote_failed'
  | 'pers_pages_remote_nomem'
  | 'remote_pers_pages_succ_get'
  | 'remote_pers_pages_unsucc_get'
  | 'remote_pages_flushed'
  | 'remote_page_flushes_failed'
  | 'remote_objects_flushed'
  | 'remote_object_flushes_failed'
  | 'remoteLost'
  | 'remoteLate'
  | 'remoteDamaged'
  | 'pagesRepatriated'
  | 'repatriationsRefused'
  | 'remotePagesFreed'
  | 'remotifyStopped'
  | 'localDamaged'
  | 'areasRefused';

const pages = (help: string, mustStayZero = false): CounterSpec => ({
  unit: 'pages',
  mustStayZero,
  help,
});

export const remoteCounters: Readonly<Record<RemoteCounter, CounterSpec>> = {
  pers_pages_remoted: pages('moved to the remote machine: acknowledged, local copy freed'),
  pers_pages_remote_failed: pages('sent and not acknowledged: the local copy is kept'),
  pers_pages_remote_nomem: pages('of these: the remote machine was full'),
  remote_pers_pages_succ_get: pages('loaded from the remote machine'),
  remote_pers_pages_unsucc_get: pages('not found on the remote machine, or found damaged'),
  remote_pages_flushed: pages('deleted on the remote machine'),
  remote_page_flushes_failed: pages(
    'not deleted there; they stay until their area is switched off',
  ),
  remote_objects_flushed: {
    unit: 'chunks',
    mustStayZero: false,
    help: 'of 1024 slots, deleted when their area was switched off',
  },
  remote_object_flushes_failed: {
    unit: 'chunks',
    mustStayZero: false,
    help: 'not deleted there; they stay until another boot of the client deletes them',
  },
  remoteLost: pages(
    'loads that returned an error: no page, a damaged page, or no reply in time',
    true,
  ),
  remoteLate: pages('of these: no reply in time; the page may still be there'),
  remoteDamaged: pages('of these: checksum or generation did not match', true),
  pagesRepatriated: pages('stored locally again after a load'),
  repatriationsRefused: pages('loaded, but the local tier had no space: they stay remote'),
  remotePagesFreed: pages('freed or replaced while they were remote'),
  remotifyStopped: {
    unit: 'calls',
    mustStayZero: false,
    help: 'of remotify() that moved nothing: the connection is down, or there is no lease',
  },
  localDamaged: pages('found damaged in the local tier and not sent', true),
  areasRefused: {
    unit: 'areas',
    mustStayZero: false,
    help: 'whose tables do not fit the budget; they refuse every store',
  },
};
