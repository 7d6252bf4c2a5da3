/** What the remote tier counts. RAMster's names where it has one (drivers/staging/zcache/ramster/debug.c of Linux 3.9). */
import type { CounterSpec } from '../base/counters.ts';

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
  pers_pages_remoted: pages('moved to the other machine: acknowledged, the local copy gone'),
  pers_pages_remote_failed: pages('not acknowledged: the local copy stayed'),
  pers_pages_remote_nomem: pages('of these: the other machine was full'),
  remote_pers_pages_succ_get: pages('that came back when they were loaded'),
  remote_pers_pages_unsucc_get: pages('that the other machine did not have, or had damaged'),
  remote_pages_flushed: pages('deleted on the other machine'),
  remote_page_flushes_failed: pages('not deleted there: they lie until their area ends'),
  remote_objects_flushed: {
    unit: 'chunks',
    mustStayZero: false,
    help: 'of 1024 slots given up with their area',
  },
  remote_object_flushes_failed: {
    unit: 'chunks',
    mustStayZero: false,
    help: 'not given up there: they lie until another boot clears them away',
  },
  remoteLost: pages('loads that got no page, or not the page, or too late: an error each', true),
  remoteLate: pages('of these: no answer in time, the page may be there'),
  remoteDamaged: pages('of these: checksum or generation were wrong', true),
  pagesRepatriated: pages('that lie here again after a load'),
  repatriationsRefused: pages('loaded, but without room here: they stayed there'),
  remotePagesFreed: pages('freed or replaced while they were there'),
  remotifyStopped: {
    unit: 'calls',
    mustStayZero: false,
    help: 'of remotify that moved nothing: the other machine is down, or has no lease for us',
  },
  localDamaged: pages('found damaged here on the way out: they stayed', true),
  areasRefused: {
    unit: 'areas',
    mustStayZero: false,
    help: 'whose tables found no room in the budget: their stores are refused',
  },
};
