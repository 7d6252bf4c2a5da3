/**
 * Health of a host: the reply to `GET /v1/health`, and the counters of the NBD server as text for SIGUSR1.
 * `degraded`: a counter that must stay 0 is not 0; `violated` lists it, for a disk as `disk NAME: failedReads`.
 */
import type { Counters } from '../base/counters.ts';
import type { HostCounter } from './counters.ts';
import type { DiskReport } from './list-document.ts';
import type { NbdFrontEndStats } from './parts.ts';

export interface HealthFacts {
  readonly version: string;
  readonly uptimeSeconds: number;
  readonly uris: readonly string[];
  readonly counters: Counters<HostCounter>;
  readonly disks: readonly DiskReport[];
  /** Null before the NBD server is created. */
  readonly nbd: NbdFrontEndStats | null;
}

interface NbdFigure {
  readonly name: string;
  readonly unit: string;
  readonly help: string;
  readonly of: (stats: NbdFrontEndStats) => number;
}

const nbdFigures: readonly NbdFigure[] = [
  { name: 'connections', unit: 'clients', help: 'connected now', of: (s) => s.connectionCount },
  { name: 'accepted', unit: 'clients', help: 'accepted so far', of: (s) => s.accepted },
  {
    name: 'refused',
    unit: 'clients',
    help: 'refused at the connection limit',
    of: (s) => s.refused,
  },
  {
    name: 'dropped',
    unit: 'clients',
    help: 'disconnected by the host or after an error',
    of: (s) => s.dropped,
  },
  { name: 'bytesIn', unit: 'bytes', help: 'received', of: (s) => s.bytesIn },
  { name: 'bytesOut', unit: 'bytes', help: 'sent', of: (s) => s.bytesOut },
];

/** Counters that must stay 0 and are not 0: `stoppedDisks`, `disk NAME: failedReads`. */
export function violatedCounters({
  counters,
  disks,
}: Pick<HealthFacts, 'counters' | 'disks'>): readonly string[] {
  const failingDisks = disks.filter(({ failedReads }) => failedReads !== 0);
  const failingBackings = disks.filter(({ backingFailures }) => backingFailures !== 0);
  const damagedBackings = disks.filter(({ backingMismatches }) => backingMismatches !== 0);
  return [
    ...counters.violated(),
    ...failingDisks.map(({ name }) => `disk ${name}: failedReads`),
    ...failingBackings.map(({ name }) => `disk ${name}: backingFailures`),
    ...damagedBackings.map(({ name }) => `disk ${name}: backingMismatches`),
  ];
}

export function healthDocument(facts: HealthFacts): object {
  const { version, uptimeSeconds, uris, counters, nbd } = facts;
  const violated = violatedCounters(facts);
  return {
    schemaVersion: 1,
    status: violated.length === 0 ? 'ok' : 'degraded',
    violated,
    version,
    pid: process.pid,
    uptimeSeconds,
    uris,
    counters: counters.snapshot(),
    nbd:
      nbd === null ? null : Object.fromEntries(nbdFigures.map(({ name, of }) => [name, of(nbd)])),
  };
}

/** One line per figure: value, unit, name, meaning. */
export const describeNbdFigures = (nbd: NbdFrontEndStats): string =>
  nbdFigures
    .map(({ name, unit, help, of }) => `${of(nbd)} ${unit} nbd ${name}: ${help}\n`)
    .join('');
