/**
 * Families of metrics: the facts that samples are computed from, and the constructors of families of the host, of a disk and of
 * a process.
 */
import type { StatsDisk } from '../block/filters/stats-disk.ts';
import { type FamilyHead, label, type Samples } from './exposition.ts';
import type { HealthFacts } from './health.ts';
import type { DiskReport } from './list-document.ts';
import type { NbdFrontEndStats, TmemReport } from './parts.ts';
import type { EventLoopFigures, ProcessFigures } from './process-figures.ts';

/** The facts of a host at the time of a request. */
export interface MetricsFacts extends HealthFacts {
  /** Whether the host listens and is not stopping. */
  readonly isReady: boolean;
  /** The budget of all disks together; limitBytes 0: no limit. */
  readonly total: { readonly usedBytes: number; readonly limitBytes: number };
  /** The statistics filter of each disk, by name. A disk without one has no latencies. */
  readonly latencies: ReadonlyMap<string, Pick<StatsDisk, 'latency'>>;
  readonly process: ProcessFigures;
  /** Null: not measured. */
  readonly eventLoop: EventLoopFigures | null;
  /** Null: the host has no tmem socket. */
  readonly tmem: TmemReport | null;
}

interface HostFamily extends FamilyHead {
  readonly of: 'host';
  readonly labels: readonly string[];
  readonly write: (out: Samples, facts: MetricsFacts) => void;
}
interface DiskFamily extends FamilyHead {
  readonly of: 'disk';
  /** Without `disk`, which every sample has. */
  readonly labels: readonly string[];
  /** @param disk the label `disk` */
  readonly write: (out: Samples, disk: string, report: DiskReport, facts: MetricsFacts) => void;
}
export type Family = HostFamily | DiskFamily;
export type Rest = Pick<FamilyHead, 'type' | 'unit' | 'help'>;

export const gauge = (unit: FamilyHead['unit'], help: string): Rest => ({
  type: 'gauge',
  unit,
  help,
});
export const counter = (unit: FamilyHead['unit'], help: string): Rest => ({
  type: 'counter',
  unit,
  help,
});

/** A family of the host with one sample, or none while the value is null. */
export const host = (
  name: string,
  rest: Rest,
  of: (facts: MetricsFacts) => number | null,
): Family => ({
  name: `frontswap_${name}`,
  ...rest,
  of: 'host',
  labels: [],
  write: (out, facts) => {
    const value = of(facts);
    if (value !== null) out.add('', value);
  },
});

/** A family of the NBD server; without samples before the server is created. */
export const nbd = (name: string, rest: Rest, of: (stats: NbdFrontEndStats) => number): Family =>
  host(`nbd_${name}`, rest, (facts) => (facts.nbd === null ? null : of(facts.nbd)));

/** A family named like those of the official client libraries. */
export const ofProcess = (
  name: string,
  rest: Rest,
  of: (figures: ProcessFigures) => number | null,
): Family => ({
  ...host(name, rest, (facts) => of(facts.process)),
  name: `process_${name}`,
});

export const disk = (name: string, rest: Rest, of: (report: DiskReport) => number): Family => ({
  name: `frontswap_${name}`,
  ...rest,
  of: 'disk',
  labels: [],
  write: (out, labels, report) => out.add(labels, of(report)),
});

/** A value for each value of a label. */
export type Values<Of> = Readonly<Record<string, (of: Of) => number>>;

/** Writes a sample with the label `by` for each value, in addition to the labels given. */
export function samplesBy<Of>(
  by: string,
  values: Values<Of>,
): (out: Samples, labels: string, of: Of) => void {
  const samples = Object.entries(values).map(([value, of]) => ({ label: label(by, value), of }));
  return (out, labels, of) => {
    for (const one of samples) out.add(`${labels},${one.label}`, one.of(of));
  };
}

/** A family of a disk with one more label, and a value of the disk for each value of the label. */
export const diskBy = (
  name: string,
  rest: Rest,
  by: string,
  values: Values<DiskReport>,
): Family => ({
  ...disk(name, rest, () => 0),
  of: 'disk',
  labels: [by],
  write: samplesBy(by, values),
});
