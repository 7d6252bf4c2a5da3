/** The figures of all disks of a host together, for a status line. */
import type { DiskFigures } from './disk-figures.ts';
import { requestsOf } from './disk-maintenance.ts';

export interface HostTotals {
  readonly diskCount: number;
  readonly dataBytes: number;
  readonly compressedBytes: number;
  readonly usedBytes: number;
  readonly connections: number;
  readonly requests: number;
}

export function totalsOf(disks: readonly DiskFigures[]): HostTotals {
  const totals = {
    diskCount: disks.length,
    dataBytes: 0,
    compressedBytes: 0,
    usedBytes: 0,
    connections: 0,
    requests: 0,
  };
  for (const { stats, connections } of disks) {
    totals.dataBytes += stats.dataBytes;
    totals.compressedBytes += stats.compressedBytes;
    totals.usedBytes += stats.usedBytes;
    totals.connections += connections;
    totals.requests += requestsOf(stats);
  }
  return totals;
}
