/**
 * What a host does for its disks between requests: compacts idle ones, releases freed memory, empties disks that had no
 * client for their `keep` time, and logs what an operator should know: a disk near its limit, one that refuses writes,
 * one whose backing is full, fails or is damaged, one that stopped.
 *
 * Runs ten times a second, and more often while there is something to compact.
 */
import type { Budget } from '../arena/budget.ts';
import type { Counters } from '../base/counters.ts';
import { formatSize } from '../base/size.ts';
import type { DiskConfig } from './config.ts';
import type { HostCounter } from './counters.ts';
import { DiskProblem } from './disk-problem.ts';
import { FillWatch } from './fill-watch.ts';
import type { DiskStats, Log, SwapDisk } from './parts.ts';

const compactEveryMs = 100;
const compactAgainMs = 5;
/** A budget with less than this left counts as exhausted: memory is reserved in runs of pages. */
const SCARCE_BYTES = 1024 * 1024;

export interface ServedDisk {
  readonly config: DiskConfig;
  readonly disk: SwapDisk;
  /** reads + writes + discards at the last check; unchanged means idle. */
  requestsSeen: number;
  /** The fault of this disk was logged. */
  isStopped: boolean;
  /** Requests that the NBD server refused before they reached the disk. */
  invalidRequests: number;
  readonly problem: DiskProblem;
  readonly fill: FillWatch;
  /** When the disk was last seen in use, and its request count then; null while it is open or empty. */
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
  /** The ceiling of all disks together. */
  readonly total: Budget;
  readonly counters: Counters<HostCounter>;
  readonly log: Log;
  /** Releases memory that the process has freed. */
  readonly trim: () => void;
  /** Clients that have the disk open. */
  readonly connections: (name: string) => number;
  readonly reset: (name: string) => Promise<unknown>;
}

export class DiskMaintenance {
  readonly #options: DiskMaintenanceOptions;
  readonly #totalFill = new FillWatch();
  /** No disk had a request between the last two checks. */
  #isIdle = false;

  constructor(options: DiskMaintenanceOptions) {
    this.#options = options;
  }

  /** Starts the checks; returns a function that stops them. */
  start(): () => void {
    let timer: NodeJS.Timeout;
    let atRest = false;
    const look = (): void => {
      const more = this.#compactIdle();
      this.#logFaults();
      this.#lookAtDisks();
      if (this.#isIdle && !more && !atRest) this.#options.trim();
      atRest = this.#isIdle && !more;
      // Not between the quick looks of tidying: a quiet while is counted in even ones.
      if (!more) this.#tellProblem();
      timer = setTimeout(look, more ? compactAgainMs : compactEveryMs);
      timer.unref();
    };
    look();
    return () => clearTimeout(timer);
  }

  #lookAtDisks(): void {
    const { disks, total, log } = this.#options;
    for (const served of disks) {
      const stats = served.disk.stats();
      this.#logFill(served, stats);
      this.#dropUnused(served, stats);
    }
    if (!this.#totalFill.look(total.usedBytes, total.limitBytes)) return;
    const percent = Math.floor((100 * total.usedBytes) / total.limitBytes);
    log(
      `all disks: ${percent} % of the total limit of ${formatSize(total.limitBytes)} is used; at the limit ` +
        'writes are refused or go to a backing; raise --total-limit, or have the guests swap less',
    );
  }

  /** Warns early that a disk fills up: at the limit its guest can only retry, or kill programs. */
  #logFill({ config, fill }: ServedDisk, { usedBytes, limitBytes }: DiskStats): void {
    const isTotal = limitBytes === this.#options.total.limitBytes; // logged for all disks
    if (!fill.look(usedBytes, limitBytes) || isTotal) return;
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
    const holdsPages = stats.storedPages > 0 || stats.backingBytes > 0;
    if (!holdsPages || this.#options.connections(name) > 0) served.unused = null;
    else if (served.unused?.requests !== requests)
      served.unused = { sinceMs: performance.now(), requests };
    if (served.unused === null) return;
    if (performance.now() - served.unused.sinceMs < keepSeconds * 1000) return;
    served.unused = null;
    this.#options.reset(name).catch((error: Error) => this.#options.log(error.message));
  }

  #tellProblem(): void {
    for (const served of this.#options.disks) {
      const { config, disk, problem } = served;
      const stats = disk.stats();
      for (const news of problem.look(stats, () => this.#whyFull(served, stats)))
        this.#options.log(`disk ${config.name}: ${news}`);
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

  /** Compacts idle disks; true when one has more to do. */
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
      this.#options.counters.add('settlePasses', 1);
    }
    return more;
  }

  /** Logs once that a disk broke an invariant and has stopped; the others go on. */
  #logFaults(): void {
    for (const served of this.#options.disks) {
      const { fault } = served.disk;
      if (fault === null || served.isStopped) continue;
      served.isStopped = true;
      this.#options.counters.add('stoppedDisks', 1);
      this.#options.log(
        `disk ${served.config.name}: stopped by a fault of frontswap, please report it: ` +
          `${fault.stack ?? fault.message}`,
      );
    }
  }
}
