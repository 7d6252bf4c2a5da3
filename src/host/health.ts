/**
 * Health of a host: the answer of `GET /v1/health`, and the same counters as text for SIGUSR1.
 * `degraded`: a counter that must stay 0 is not 0; `violated` names it, for a disk as `disk NAME: failedReads`.
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
  { name: 'accepted', unit: 'clients', help: 'came so far', of: (s) => s.accepted },
  {
    name: 'refused',
    unit: 'clients',
    help: 'turned away for being too many',
    of: (s) => s.refused,
  },
  { name: 'dropped', unit: 'clients', help: 'hung up on, each in the log', of: (s) => s.dropped },
  { name: 'bytesIn', unit: 'bytes', help: 'received', of: (s) => s.bytesIn },
  { name: 'bytesOut', unit: 'bytes', help: 'sent', of: (s) => s.bytesOut },
];

export function healthDocument(facts: HealthFacts): object {
  const { version, uptimeSeconds, uris, counters, disks, nbd: door } = facts;
  const damaged = disks.filter(({ failedReads }) => failedReads !== 0);
  const flawed = disks.filter(({ backingFailures }) => backingFailures !== 0);
  const altered = disks.filter(({ backingMismatches }) => backingMismatches !== 0);
  const violated = [
    ...counters.violated(),
    ...damaged.map(({ name }) => `disk ${name}: failedReads`),
    ...flawed.map(({ name }) => `disk ${name}: backingFailures`),
    ...altered.map(({ name }) => `disk ${name}: backingMismatches`),
  ];
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
      door === null ? null : Object.fromEntries(nbdFigures.map(({ name, of }) => [name, of(door)])),
  };
}

/** A line a figure: value, unit, name, meaning. */
export const describeNbdFigures = (door: NbdFrontEndStats): string =>
  nbdFigures
    .map(({ name, unit, help, of }) => `${of(door)} ${unit} nbd ${name}: ${help}\n`)
    .join('');
