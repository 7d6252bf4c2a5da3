/**
 * Background work for the disks of a host: compacts idle disks, releases freed memory, empties disks that had no client for
 * their `keep` time, and logs what an operator needs to know: a disk near its limit; refused writes; a full, failing or damaged
 * backing; a stopped disk.
 *
 * It runs ten times a second, and more often while there is more to compact. It uses one millisecond of each turn of the event
 * loop, so that guests are served in between.
 */
import type { Counters } from '../base/counters.ts';
import { formatSize } from '../base/size.ts';
import type { HostCounter } from './counters.ts';
import { FillWatch } from './fill-watch.ts';
import type { DiskStats, Log, TotalBudget } from './parts.ts';
import type { ServedDisk } from './served-disk.ts';
import { compactForTurn, WorkTurns } from './turn.ts';

/** Time between passes, and between passes while there is more to compact, ms. */
const PASS_MS = 100;
const BUSY_PASS_MS = 1;
/** A budget with fewer free bytes counts as exhausted, because memory is reserved in runs of pages. */
const SCARCE_BYTES = 1024 * 1024;

export const requestsOf = (stats: DiskStats): number => stats.reads + stats.writes + stats.discards;

export interface DiskMaintenanceOptions {
  readonly disks: readonly ServedDisk[];
  /** The limit of all disks together. */
  readonly total: TotalBudget;
  /** Another thread logs that the total is nearly used up. Default false. */
  readonly isTotalWatched?: boolean;
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
    let next: NodeJS.Timeout | NodeJS.Immediate;
    let isStopped = false;
    let wasAtRest = false;
    const visit = (pass: Pass): void => {
      if (isStopped) return;
      this.#visitDisks(pass);
      if (pass.left.length > 0) {
        next = setImmediate(visit, pass);
        return;
      }
      if (this.#options.isTotalWatched !== true) this.#checkTotal();
      const isAtRest = this.#isIdle && !pass.more;
      if (isAtRest && !wasAtRest) this.#options.trim();
      wasAtRest = isAtRest;
      // Only in the regular passes: a quiet period is counted in passes (refusal-watch.ts).
      if (!pass.more) this.#logProblems(pass);
      const timer = setTimeout(begin, pass.more ? BUSY_PASS_MS : PASS_MS);
      timer.unref();
      next = timer;
    };
    const begin = (): void => {
      this.#isIdle = true;
      visit({ left: [...this.#options.disks].reverse(), seen: [], more: false });
    };
    begin();
    return () => {
      isStopped = true;
      clearTimeout(next as NodeJS.Timeout);
      clearImmediate(next as NodeJS.Immediate);
    };
  }

  /** Continues a pass for one turn of the event loop. */
  #visitDisks(pass: Pass): void {
    const { disks } = this.#options;
    const turns = new WorkTurns();
    while (pass.left.length > 0) {
      const served = pass.left.pop()!;
      if (!disks.includes(served)) continue; // removed meanwhile
      const stats = served.disk.stats();
      pass.seen.push({ served, stats });
      if (this.#compactIdle(served, stats)) pass.more = true;
      this.#logFault(served);
      this.#logFill(served, stats);
      this.#dropUnused(served, stats);
      if (turns.isOver) return;
    }
  }

  #checkTotal(): void {
    const { total, log } = this.#options;
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

  /** Empties a disk if its last client disconnected at least `keep` seconds ago. */
  #dropUnused(served: ServedDisk, stats: DiskStats): void {
    const { name, keepSeconds } = served.config;
    if (keepSeconds === null) return;
    const requests = requestsOf(stats);
    const hasPages = stats.storedPages > 0 || stats.backingBytes > 0;
    const isOpen = this.#options.connections(name) > 0;
    if (!hasPages || isOpen || served.gate.isFrozen || served.isChanging) served.unused = null;
    else if (served.unused?.requests !== requests)
      served.unused = { sinceMs: performance.now(), requests };
    if (served.unused === null) return;
    if (performance.now() - served.unused.sinceMs < keepSeconds * 1000) return;
    served.unused = null;
    this.#options.reset(name).catch((error: Error) => this.#options.log(error.message));
  }

  #logProblems({ seen }: Pass): void {
    for (const { served, stats } of seen) {
      const { config, problem } = served;
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

  /** Compacts a disk if it is idle; returns true if there is more to compact. */
  #compactIdle(served: ServedDisk, stats: DiskStats): boolean {
    const requests = requestsOf(stats);
    const isIdle = requests === served.requestsSeen;
    served.requestsSeen = requests;
    if (!isIdle) this.#isIdle = false;
    if (!isIdle || served.isChanging) return false;
    this.#options.counters.add('compactionPasses', 1);
    return compactForTurn(served.disk);
  }

  /** Logs once that a disk broke an invariant and has stopped; the other disks continue. */
  #logFault(served: ServedDisk): void {
    const { fault } = served.disk;
    if (fault === null || served.isStopped) return;
    served.isStopped = true;
    this.#options.counters.add('stoppedDisks', 1);
    this.#options.log(
      `disk ${served.config.name}: stopped by a bug of frontswap; please report it: ` +
        `${fault.stack ?? fault.message}`,
    );
  }
}

/** A pass over the disks, which may take several turns of the event loop. */
interface Pass {
  /** Disks still to visit, the next one last. */
  readonly left: ServedDisk[];
  readonly seen: { readonly served: ServedDisk; readonly stats: DiskStats }[];
  /** A disk has more to compact. */
  more: boolean;
}
