/**
 * The disks of a host with engine workers, in the thread that listens. Each disk is owned by one worker (host/worker.ts); this
 * file keeps its configuration, its name and its latest figures.
 *
 *   operation ─▶ the worker of the disk ─▶ answer
 *   client ─ negotiation here ─ GO, EXPORT_NAME ─▶ the worker of the disk (nbd/server/visits.ts)
 *   figures ◀─ all workers, when they are requested and once a second
 *
 * Invariants
 * - A name is reserved from the moment its disk begins to be added until the disk has ended.
 * - Only the worker makes decisions that may lose pages or refuse a client; the data in this file may be older.
 */
import { closeSync } from 'node:fs';
import { SharedBudget } from '../../arena/shared-budget.ts';
import type { Counters } from '../../base/counters.ts';
import { SwapError } from '../../base/errors.ts';
import { formatSize } from '../../base/size.ts';
import { nullDisk } from '../../block/disks/null-disk.ts';
import type { VisitHooks } from '../../nbd/server/visits.ts';
import { systemDuplicate } from '../../os/linux/descriptors.ts';
import type { ClientLimits } from '../client-limits.ts';
import { type HostCounter, hostCounters } from '../counters.ts';
import type { DiskConfig } from '../disk-config.ts';
import { DiskExports } from '../disk-exports.ts';
import { type DiskFigures, type FiguresValue, figuresOfValue } from '../disk-figures.ts';
import type { DiskChange } from '../disk-table.ts';
import { EngineWorker } from '../engine-worker.ts';
import type { HostEvents } from '../events.ts';
import type { HostDisks } from '../host-disks.ts';
import { checkNewDisk, unknownDisk } from '../new-disk.ts';
import type { HostExport, Log, NbdFrontEnd, NbdFrontEndStats } from '../parts.ts';
import type { FromWorker } from './messages.ts';
import { leastLoaded } from './placement.ts';

/** Maximum age of figures between requests for them, ms. */
const REFRESH_MS = 1000;

export interface WorkerDisksOptions {
  readonly workers: number;
  readonly codec: string;
  readonly totalLimitBytes: number;
  readonly hasUnix: boolean;
  readonly socketMode: number;
  readonly limits: ClientLimits;
  readonly events: Pick<HostEvents, 'emit'>;
  readonly print: Log;
  readonly log: Log;
  /** A line for each connection opened or closed. */
  readonly trace: Log;
  readonly counters: Counters<HostCounter>;
  /** Called when a worker has ended and its pages are lost. */
  readonly onLost: (line: string) => void;
}

interface Placed {
  config: DiskConfig;
  readonly worker: EngineWorker;
  /** Null: the disk is being added. */
  figures: DiskFigures | null;
}

/** The counters of a worker, as of its last figures. */
interface Counted {
  readonly values: Float64Array;
  nbd: Pick<NbdFrontEndStats, 'dropped' | 'bytesIn' | 'bytesOut'>;
}

export class WorkerDisks implements HostDisks {
  readonly exports: DiskExports = new DiskExports();
  readonly total: SharedBudget;
  readonly visits: VisitHooks = {
    handOver: (connection, exportName) => {
      const worker = this.#placed.get(exportName ?? '')?.worker ?? this.#workers[0]!;
      if (worker.hasEnded) {
        closeSync(connection.fd);
        this.#nbd?.closedAway(connection.id);
      } else worker.post({ kind: 'adopt', connection, defaultName: this.exports.defaultName });
    },
    opened: () => undefined,
    closed: () => undefined,
  };
  readonly #options: WorkerDisksOptions;
  readonly #workers: readonly EngineWorker[];
  readonly #counted: readonly Counted[];
  readonly #placed = new Map<string, Placed>();
  readonly #timer: NodeJS.Timeout;
  #nbd: NbdFrontEnd | null = null;

  /** @throws SwapError ERR_IO_UNSUPPORTED */
  constructor(options: WorkerDisksOptions) {
    const { workers, codec, totalLimitBytes, hasUnix, limits, socketMode } = options;
    if (systemDuplicate(process.platform) === null)
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        'workers: koffi does not load on this machine, and a connection cannot be moved to another thread; use workers=1',
        { workers },
      );
    this.#options = options;
    const total = SharedBudget.memory(totalLimitBytes);
    this.total = new SharedBudget(total);
    this.#workers = Array.from({ length: workers }, (_, at) => {
      const worker: EngineWorker = new EngineWorker({
        number: at + 1,
        settings: { codec, hasUnix, socketMode, limits, total, isTotalWatched: at > 0 },
        onMessage: (message) => this.#receive(worker, message),
        onEnded: (why) => this.#lost(worker, why),
      });
      return worker;
    });
    this.#counted = this.#workers.map(() => ({
      values: new Float64Array(hostCounters().values.length),
      nbd: { dropped: 0, bytesIn: 0, bytesOut: 0 },
    }));
    this.#timer = setInterval(() => void this.refresh(), REFRESH_MS);
    this.#timer.unref();
  }

  get configs(): readonly DiskConfig[] {
    return [...this.#placed.values()].map(({ config }) => config);
  }

  figures(): readonly DiskFigures[] {
    return [...this.#placed.values()].flatMap(({ figures }) => figures ?? []);
  }

  figuresOf(name: string): DiskFigures {
    const { figures } = this.#find(name);
    if (figures === null) throw unknownDisk(name, []);
    return figures;
  }

  async refresh(): Promise<boolean> {
    const answered = await Promise.all(
      this.#workers.map(async (worker, at) => {
        const answer = await worker.figures();
        if (answer === 'late') return false;
        if (answer === null) return true; // it has ended: onLost reports that
        const { disks, counters, ...nbd } = answer;
        for (const figures of disks)
          if (this.#placed.get(figures.config.name)?.figures !== null)
            this.#update(worker, figures);
        const counted = this.#counted[at]!;
        counted.nbd = nbd;
        for (const [i, value] of counters.entries()) {
          this.#options.counters.values[i]! += value - counted.values[i]!;
          counted.values[i] = value;
        }
        return true;
      }),
    );
    return answered.every(Boolean);
  }

  nbdStats(own: NbdFrontEndStats): NbdFrontEndStats {
    const sum = (key: keyof Counted['nbd']): number =>
      this.#counted.reduce((all, { nbd }) => all + nbd[key], own[key]);
    return {
      ...own,
      dropped: sum('dropped'),
      bytesIn: sum('bytesIn'),
      bytesOut: sum('bytesOut'),
    };
  }

  attach(nbd: NbdFrontEnd): void {
    this.#nbd = nbd;
  }

  async add(requested: DiskConfig, isLive: boolean): Promise<void> {
    const { hasUnix } = this.#options;
    const facts = { totalLimitBytes: this.total.limitBytes, hasUnix };
    const config = checkNewDisk(requested, this.configs, facts);
    const { name } = config;
    const counts = this.#workers.map(
      (worker) => [...this.#placed.values()].filter((placed) => placed.worker === worker).length,
    );
    const worker = this.#workers[leastLoaded(counts)]!;
    this.#placed.set(name, { config, worker, figures: null });
    try {
      await worker.ask('add', config, isLive);
    } catch (error) {
      this.#placed.delete(name);
      throw error;
    }
  }

  async remove(name: string, force: boolean): Promise<number> {
    return await this.#find(name).worker.ask('remove', name, force);
  }

  async set(name: string, change: DiskChange, force: boolean): Promise<void> {
    await this.#find(name).worker.ask('set', name, change, force);
  }

  async freeze(name: string): Promise<void> {
    await this.#find(name).worker.ask('freeze', name);
  }

  async thaw(name: string): Promise<void> {
    await this.#find(name).worker.ask('thaw', name);
  }

  async flush(name: string): Promise<number> {
    return await this.#find(name).worker.ask('flush', name);
  }

  async reset(name: string, force: boolean): Promise<number> {
    return await this.#find(name).worker.ask('reset', name, force);
  }

  /** It ends with the workers. */
  startMaintenance(): () => void {
    for (const worker of this.#workers) void worker.ask('maintain').catch(() => undefined);
    return () => undefined;
  }

  beginStop(): void {
    for (const worker of this.#workers) void worker.ask('beginStop').catch(() => undefined);
  }

  async dispose(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#workers.map((worker) => worker.close()));
    this.#placed.clear();
  }

  #find(name: string): Placed {
    const placed = this.#placed.get(name);
    if (placed === undefined) throw unknownDisk(name, [...this.#placed.keys()]);
    return placed;
  }

  #receive(worker: EngineWorker, message: FromWorker): void {
    switch (message.kind) {
      case 'disk':
        this.#changed(worker, message);
        break;
      case 'returned':
        if (this.#nbd === null) closeSync(message.connection.fd);
        else this.#nbd.adopt(message.connection, false);
        break;
      case 'opened':
        this.#nbd?.openedAway(message.id, message.exportName);
        break;
      case 'closed':
        this.#nbd?.closedAway(message.id);
        break;
      case 'print':
      case 'log':
      case 'trace':
        this.#options[message.kind](message.line);
        break;
      case 'event':
        this.#options.events.emit(message.event, message.disk, message.message);
        break;
      default:
        break; // answers are for EngineWorker
    }
  }

  #changed(
    worker: EngineWorker,
    { name, figures, generation }: FromWorker & { kind: 'disk' },
  ): void {
    const placed = this.#placed.get(name);
    if (placed?.worker !== worker) return;
    if (figures === null) {
      if (placed.figures === null) return; // it is about the previous disk with this name
      this.#placed.delete(name);
      this.exports.delete(name);
      return;
    }
    this.#update(worker, figures);
    if (this.exports.get(name) === undefined) this.exports.set(name, this.#exportOf(figures));
    else this.exports.restore(name, this.#exportOf(figures));
    this.exports.renew(name, generation);
  }

  #update(worker: EngineWorker, figures: FiguresValue): void {
    const placed = this.#placed.get(figures.config.name);
    if (placed?.worker !== worker) return;
    placed.figures = figuresOfValue(figures);
    placed.config = figures.config;
  }

  /** For LIST and INFO only; clients open the export of the worker. */
  #exportOf({ config, readOnly }: FiguresValue): HostExport {
    const { name, sizeBytes, isShared, access = null } = config;
    return {
      ...{ name, isShared, access },
      description: `frontswap ${formatSize(sizeBytes)} ${this.#options.codec}`,
      disk: { ...nullDisk(sizeBytes), readOnly },
      isElsewhere: true,
    };
  }

  #lost(worker: EngineWorker, why: string): void {
    const names = [...this.#placed].flatMap(([name, placed]) =>
      placed.worker === worker ? [name] : [],
    );
    const what =
      names.length === 0 ? 'it had no disks' : `the pages of ${names.join(', ')} are lost`;
    this.#options.onLost(`engine worker ${worker.number} has ended: ${what}: ${why}`);
  }
}
