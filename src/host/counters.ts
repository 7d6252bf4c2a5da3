/** What the host itself counts; each disk counts its own (parts.ts). */
import { Counters } from '../observe/counters.ts';

export type HostCounter = 'controlRequests' | 'controlRefusals' | 'settlePasses' | 'settleFailures';

export const hostCounters = (): Counters<HostCounter> =>
  new Counters({
    controlRequests: { unit: 'requests', mustStayZero: false, help: 'answered with success' },
    controlRefusals: {
      unit: 'requests',
      mustStayZero: false,
      help: 'unknown path, wrong method, too large or malformed',
    },
    settlePasses: { unit: 'passes', mustStayZero: false, help: 'tidying of an idle disk' },
    settleFailures: { unit: 'passes', mustStayZero: true, help: 'tidying that threw' },
  });
