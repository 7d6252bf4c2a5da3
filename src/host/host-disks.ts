/** The disks of a host, as the rest of it sees them: in its own thread (local-disks.ts) or in workers (workers/). */
import type { VisitHooks } from '../nbd/server/visits.ts';
import type { DiskConfig } from './disk-config.ts';
import type { DiskExports } from './disk-exports.ts';
import type { DiskFigures } from './disk-figures.ts';
import type { DiskChange } from './disk-table.ts';
import type { NbdFrontEnd, NbdFrontEndStats, TotalBudget } from './parts.ts';

/** The operations throw what DiskTable throws. */
export interface HostDisks {
  /** For the NBD server that listens. */
  readonly exports: DiskExports;
  /** For that server; null: it serves all disks itself. */
  readonly visits: VisitHooks | null;
  /** Limit of all disks together. */
  readonly total: TotalBudget;
  readonly configs: readonly DiskConfig[];
  /** As of now, or of the last refresh(), at most a second ago. */
  figures(): readonly DiskFigures[];
  figuresOf(name: string): DiskFigures;
  /** Brings figures() up to date; null: they always are. False: a worker does not answer, and its figures are older. */
  refresh(): Promise<boolean> | null;
  /** The counters of the NBD server that listens, with those of the others added. */
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
  /** Operations in progress notice that the host is stopping. */
  beginStop(): void;
  /** Ends the connections of workers, and frees every disk. */
  dispose(): Promise<void>;
}
