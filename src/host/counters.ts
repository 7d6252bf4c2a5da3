/** What the host itself counts; each disk counts its own (parts.ts). */
import { Counters } from '../observe/counters.ts';

export type HostCounter =
  | 'controlRequests'
  | 'controlRefusals'
  | 'maintainPasses'
  | 'maintainFailures';

export const hostCounters = (): Counters<HostCounter> =>
  new Counters({
    controlRequests: { unit: 'requests', mustStayZero: false, help: 'answered with success' },
    controlRefusals: {
      unit: 'requests',
      mustStayZero: false,
      help: 'unknown path, wrong method, too large or malformed',
    },
    maintainPasses: { unit: 'passes', mustStayZero: false, help: 'tidying of an idle disk' },
    maintainFailures: { unit: 'passes', mustStayZero: true, help: 'tidying that threw' },
  });
