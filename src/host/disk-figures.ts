/**
 * What the host reports about a disk, no matter which thread serves it; and the same as a value that can be sent to another
 * thread.
 */
import { BioOp } from '../block/bio.ts';
import { Histogram, type HistogramValue } from '../block/filters/histogram.ts';
import type { StatsDisk } from '../block/filters/stats-disk.ts';
import type { DiskConfig } from './disk-config.ts';
import type { DiskReport } from './list-document.ts';
import type { DiskStats } from './parts.ts';
import type { ServedDisk } from './served-disk.ts';

interface Figures {
  readonly config: DiskConfig;
  readonly stats: DiskStats;
  readonly readOnly: boolean;
  /** Number of connections that have the disk open. */
  readonly connections: number;
  readonly isFrozen: boolean;
  /** Bytes of the image in use; null: the pages end with the host. */
  readonly imageBytes: number | null;
  readonly adoptedPages: number;
  /** Requests that the NBD server refused before they reached the disk. */
  readonly invalidRequests: number;
}

export interface DiskFigures extends Figures {
  readonly latencies: Pick<StatsDisk, 'latency'>;
}

/** Figures without methods. */
export interface FiguresValue extends Figures {
  /** By BioOp. */
  readonly latencies: readonly HistogramValue[];
}

export function figuresOf(served: ServedDisk, connections: number): DiskFigures {
  const { config, disk, stats, gate, image, adoptedPages, invalidRequests } = served;
  return {
    ...{ config, connections, adoptedPages, invalidRequests },
    stats: disk.stats(),
    readOnly: disk.readOnly,
    isFrozen: gate.isFrozen,
    imageBytes: image?.residentBytes ?? null,
    latencies: stats,
  };
}

export const valueOfFigures = ({ latencies, ...figures }: DiskFigures): FiguresValue => ({
  ...figures,
  latencies: Object.values(BioOp).map((op) => latencies.latency(op).value),
});

export const figuresOfValue = ({ latencies, ...figures }: FiguresValue): DiskFigures => ({
  ...figures,
  latencies: { latency: (op) => Histogram.of(latencies[op]!) },
});

/** The rest of a report, besides the figures of the disk. */
export interface ReportFacts extends Pick<DiskReport, 'tls' | 'uris' | 'hostPid' | 'hostControl'> {}

export function reportOf(figures: DiskFigures, facts: ReportFacts): DiskReport {
  const { config, stats, readOnly, connections, isFrozen, imageBytes, ...rest } = figures;
  const { name, rateBytes, access, vhostUser = '' } = config;
  return {
    ...{ name, readOnly, connections, isFrozen, rateBytes },
    isPersistent: imageBytes !== null,
    imageBytes: imageBytes ?? 0,
    adoptedPages: rest.adoptedPages,
    vhostUserSocket: vhostUser,
    allowedUids: access?.uids ?? null,
    allowedGids: access?.gids ?? null,
    ...facts,
    ...stats,
    invalidIo: stats.invalidIo + rest.invalidRequests,
  };
}
