/** Counters of the host; each disk has its own (parts.ts). */
import { Counters } from '../base/counters.ts';

export type HostCounter =
  | 'controlRequests'
  | 'controlRefusals'
  | 'metricsRequests'
  | 'metricsRefusals'
  | 'dashboardRequests'
  | 'dashboardRefusals'
  | 'compactionPasses'
  | 'stoppedDisks'
  | 'refusedImages';

export const hostCounters = (): Counters<HostCounter> =>
  new Counters({
    controlRequests: { unit: 'requests', mustStayZero: false, help: 'accepted' },
    controlRefusals: {
      unit: 'requests',
      mustStayZero: false,
      help: 'unknown path, wrong method, too large or malformed',
    },
    metricsRequests: { unit: 'requests', mustStayZero: false, help: 'accepted by --metrics' },
    metricsRefusals: {
      unit: 'requests',
      mustStayZero: false,
      help: 'refused by --metrics: unknown path, wrong method, too large or malformed',
    },
    compactionPasses: { unit: 'passes', mustStayZero: false, help: 'compactions of an idle disk' },
    stoppedDisks: { unit: 'disks', mustStayZero: true, help: 'stopped by a broken invariant' },
    dashboardRequests: { unit: 'requests', mustStayZero: false, help: 'accepted by --dashboard' },
    dashboardRefusals: {
      unit: 'requests',
      mustStayZero: false,
      help: 'refused by --dashboard: no token, another site, unknown path, too large or malformed',
    },
    refusedImages: {
      unit: 'images',
      mustStayZero: true,
      help: 'not usable: renamed aside, and their pages are not served',
    },
  });
