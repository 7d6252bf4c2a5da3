/** The interface of a host's disks: in its own thread (local-disks.ts) or in workers (workers/). */
import type { VisitHooks } from '../nbd/server/visits.ts';
import type { DiskConfig } from './disk-config.ts';
import type { DiskExports } from './disk-exports.ts';
import type { DiskFigures } from './disk-figures.ts';
import type { DiskChange } from './disk-table.ts';
import type { NbdFrontEnd, NbdFrontEndStats, TotalBudget } from './parts.ts';

/** The operations throw the errors of DiskTable. */
export interface HostDisks {
  /** For the NBD server that listens. */
  readonly exports: DiskExports;
  /** For that server; null: it serves all disks itself. */
  readonly visits: VisitHooks | null;
  /** Limit of all disks together. */
  readonly total: TotalBudget;
  readonly configs: readonly DiskConfig[];
  /** Current, or as of the last refresh(), at most a second ago. */
  figures(): readonly DiskFigures[];
  figuresOf(name: string): DiskFigures;
  /** Updates figures(); null: they are always current. False: a worker does not answer, and its figures are older. */
  refresh(): Promise<boolean> | null;
  /** The sum of the counters of all NBD servers: the one that listens, and those of workers. */
  nbdStats(own: NbdFrontEndStats): NbdFrontEndStats;
  /** The NBD server that listens. */
  attach(nbd: NbdFrontEnd): void;
  /** @param isLive the host runs: an event reports the disk */
  add(config: DiskConfig, isLive: boolean): void | Promise<void>;
  remove(name: string, force: boolean): Promise<number>;
  set(name: string, change: DiskChange, force: boolean): Promise<void>;
  freeze(name: string): Promise<void>;
  thaw(name: string): Promise<void>;
  flush(name: string): Promise<number>;
  reset(name: string, force: boolean): Promise<number>;
  /** Starts the background work; returns a function that stops it. */
  startMaintenance(): () => void;
  /** Makes operations in progress end early, because the host is stopping. */
  beginStop(): void;
  /** Ends the connections of workers, and frees every disk. */
  dispose(): Promise<void>;
}
