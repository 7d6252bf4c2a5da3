/** Counters of the host; each disk has its own (parts.ts). */
import { Counters } from '../base/counters.ts';

export type HostCounter =
  | 'controlRequests'
  | 'controlRefusals'
  | 'compactionPasses'
  | 'stoppedDisks';

export const hostCounters = (): Counters<HostCounter> =>
  new Counters({
    controlRequests: { unit: 'requests', mustStayZero: false, help: 'accepted' },
    controlRefusals: {
      unit: 'requests',
      mustStayZero: false,
      help: 'unknown path, wrong method, too large or malformed',
    },
    compactionPasses: { unit: 'passes', mustStayZero: false, help: 'compaction of an idle disk' },
    stoppedDisks: { unit: 'disks', mustStayZero: true, help: 'stopped by a broken invariant' },
  });
