/** What the host itself counts; each disk counts its own (parts.ts). */
import { Counters } from '../base/counters.ts';

export type HostCounter = 'controlRequests' | 'controlRefusals' | 'settlePasses' | 'stoppedDisks';

export const hostCounters = (): Counters<HostCounter> =>
  new Counters({
    controlRequests: { unit: 'requests', mustStayZero: false, help: 'answered with success' },
    controlRefusals: {
      unit: 'requests',
      mustStayZero: false,
      help: 'unknown path, wrong method, too large or malformed',
    },
    settlePasses: { unit: 'passes', mustStayZero: false, help: 'tidying of an idle disk' },
    stoppedDisks: { unit: 'disks', mustStayZero: true, help: 'stopped by a broken invariant' },
  });
