/**
 * Background work for the disks of a host: compacts idle disks, releases freed memory, empties disks that had no client
 * for their `keep` time, and logs what an operator needs to know: a disk near its limit, refused writes, a full, failing or
 * damaged backing, a stopped disk.
 *
 * Runs ten times a second, and more often while there is more to compact.
 */
import type { Budget } from '../arena/budget.ts';
import type { Counters } from '../base/counters.ts';
import { formatSize } from '../base/size.ts';
import type { DiskConfig } from './config.ts';
import type { HostCounter } from './counters.ts';
import { DiskProblem } from './disk-problem.ts';
import { FillWatch } from './fill-watch.ts';
import type { DiskStats, Log, SwapDisk } from './parts.ts';

/** Time between passes, and between passes while there is more to compact, ms. */
const PASS_MS = 100;
const BUSY_PASS_MS = 5;
/** A budget with less free space counts as exhausted, bytes: memory is reserved in runs of pages. */
const SCARCE_BYTES = 1024 * 1024;

export interface ServedDisk {
  readonly config: DiskConfig;
  readonly disk: SwapDisk;
  /** reads + writes + discards at the last pass; unchanged: the disk is idle. */
  requestsSeen: number;
  /** The disk's fault was logged. */
  isStopped: boolean;
  /** Requests that the NBD server refused before they reached the disk. */
  invalidRequests: number;
  readonly problem: DiskProblem;
  readonly fill: FillWatch;
  /** When the disk was last seen in use, and its requests until then; null while it is open or empty. */
  unused: { readonly sinceMs: number; readonly requests: number } | null;
}

export const servedDisk = (config: DiskConfig, disk: SwapDisk): ServedDisk => ({
  config,
  disk,
  requestsSeen: 0,
  isStopped: false,
  invalidRequests: 0,
  problem: new DiskProblem(config.backing),
  fill: new FillWatch(),
  unused: null,
});

export const requestsOf = (stats: DiskStats): number => stats.reads + stats.writes + stats.discards;

export interface DiskMaintenanceOptions {
  readonly disks: readonly ServedDisk[];
  /** The limit of all disks together. */
  readonly total: Budget;
  readonly counters: Counters<HostCounter>;
  readonly log: Log;
  /** Releases memory that the process has freed. */
  readonly trim: () => void;
  /** Number of connections that have the disk open. */
  readonly connections: (name: string) => number;
  readonly reset: (name: string) => Promise<unknown>;
}

export class DiskMaintenance {
  readonly #options: DiskMaintenanceOptions;
  readonly #totalFill = new FillWatch();
  /** No disk had a request between the last two passes. */
  #isIdle = false;

  constructor(options: DiskMaintenanceOptions) {
    this.#options = options;
  }

  /** Starts the passes; returns a function that stops them. */
  start(): () => void {
    let timer: NodeJS.Timeout;
    let wasAtRest = false;
    const pass = (): void => {
      const more = this.#compactIdle();
      this.#logFaults();
      this.#checkDisks();
      const isAtRest = this.#isIdle && !more;
      if (isAtRest && !wasAtRest) this.#options.trim();
      wasAtRest = isAtRest;
      // Only in passes of equal distance: a quiet period is counted in passes (refusal-watch.ts).
      if (!more) this.#logProblems();
      timer = setTimeout(pass, more ? BUSY_PASS_MS : PASS_MS);
      timer.unref();
    };
    pass();
    return () => clearTimeout(timer);
  }

  #checkDisks(): void {
    const { disks, total, log } = this.#options;
    for (const served of disks) {
      const stats = served.disk.stats();
      this.#logFill(served, stats);
      this.#dropUnused(served, stats);
    }
    if (!this.#totalFill.check(total.usedBytes, total.limitBytes)) return;
    const percent = Math.floor((100 * total.usedBytes) / total.limitBytes);
    log(
      `all disks: ${percent} % of the total limit of ${formatSize(total.limitBytes)} is used; at the limit ` +
        'writes are refused or go to a backing; raise --total-limit, or have the guests swap less',
    );
  }

  /** Warns before a disk is full: at the limit its guest can only retry, or kill programs. */
  #logFill({ config, fill }: ServedDisk, { usedBytes, limitBytes }: DiskStats): void {
    const isTotal = limitBytes === this.#options.total.limitBytes; // logged for all disks
    if (!fill.check(usedBytes, limitBytes) || isTotal) return;
    const what =
      config.backing === undefined
        ? 'it refuses writes; serve it with a higher limit, or have the guest swap less'
        : 'pages go to its backing';
    this.#options.log(
      `disk ${config.name}: ${Math.floor((100 * usedBytes) / limitBytes)} % of its limit of ` +
        `${formatSize(limitBytes)} is used; at the limit ${what}`,
    );
  }

  /** Empties a disk whose last client disconnected at least `keep` seconds ago. */
  #dropUnused(served: ServedDisk, stats: DiskStats): void {
    const { name, keepSeconds } = served.config;
    if (keepSeconds === null) return;
    const requests = requestsOf(stats);
    const hasPages = stats.storedPages > 0 || stats.backingBytes > 0;
    if (!hasPages || this.#options.connections(name) > 0) served.unused = null;
    else if (served.unused?.requests !== requests)
      served.unused = { sinceMs: performance.now(), requests };
    if (served.unused === null) return;
    if (performance.now() - served.unused.sinceMs < keepSeconds * 1000) return;
    served.unused = null;
    this.#options.reset(name).catch((error: Error) => this.#options.log(error.message));
  }

  #logProblems(): void {
    for (const served of this.#options.disks) {
      const { config, disk, problem } = served;
      const stats = disk.stats();
      for (const line of problem.check(stats, () => this.#whyFull(served, stats)))
        this.#options.log(`disk ${config.name}: ${line}`);
    }
  }

  #whyFull({ config }: ServedDisk, { usedBytes }: DiskStats): string {
    const { total } = this.#options;
    const ownLeft = config.limitBytes === 0 ? Infinity : config.limitBytes - usedBytes;
    const totalLeft = total.limitBytes === 0 ? Infinity : total.limitBytes - total.usedBytes;
    if (totalLeft < SCARCE_BYTES && totalLeft <= ownLeft)
      return `the total limit of ${formatSize(total.limitBytes)} is reached`;
    if (config.limitBytes === 0) return 'no memory is left';
    return `its limit of ${formatSize(config.limitBytes)} is reached`;
  }

  /** Compacts idle disks; returns true if one has more to compact. */
  #compactIdle(): boolean {
    let more = false;
    this.#isIdle = true;
    for (const served of this.#options.disks) {
      const requests = requestsOf(served.disk.stats());
      const idle = requests === served.requestsSeen;
      served.requestsSeen = requests;
      if (!idle) {
        this.#isIdle = false;
        continue;
      }
      if (served.disk.compactIdle()) more = true;
      this.#options.counters.add('compactionPasses', 1);
    }
    return more;
  }

  /** Logs once that a disk broke an invariant and has stopped; the other disks continue. */
  #logFaults(): void {
    for (const served of this.#options.disks) {
      const { fault } = served.disk;
      if (fault === null || served.isStopped) continue;
      served.isStopped = true;
      this.#options.counters.add('stoppedDisks', 1);
      this.#options.log(
        `disk ${served.config.name}: stopped by a bug of frontswap; please report it: ` +
          `${fault.stack ?? fault.message}`,
      );
    }
  }
}
