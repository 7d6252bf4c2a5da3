/** The disks of one thread: their table, their background work, and their figures. */
import type { Counters } from '../base/counters.ts';
import type { HostCounter } from './counters.ts';
import type { DiskConfig } from './disk-config.ts';
import { type DiskFigures, figuresOf } from './disk-figures.ts';
import { DiskMaintenance } from './disk-maintenance.ts';
import { type DiskChange, DiskTable } from './disk-table.ts';
import type { HostEvents } from './events.ts';
import type { HostDisks } from './host-disks.ts';
import type { ImageFolder } from './image-folder.ts';
import type { HostParts, Log, NbdFrontEnd, NbdFrontEndStats, TotalBudget } from './parts.ts';
import { VhostUserSockets } from './vhost-user-sockets.ts';

export interface LocalDisksOptions {
  readonly parts: HostParts;
  readonly codec: string;
  readonly total: TotalBudget;
  readonly hasUnix: boolean;
  /** The images of the disks, which outlive the host; null: the pages end with the host. */
  readonly images: ImageFolder | null;
  readonly events: Pick<HostEvents, 'emit'>;
  /** For lines that are also events. */
  readonly print: Log;
  readonly log: Log;
  /** A line for each front-end that connects or ends. */
  readonly trace: Log;
  /** Permission bits of vhost-user sockets. */
  readonly socketMode: number;
  readonly counters: Counters<HostCounter>;
  /** Another thread logs that the total limit is nearly used up. Default false. */
  readonly isTotalWatched?: boolean;
  /** The configuration or the generation of a disk may have changed. Default: ignored. */
  readonly onChanged?: (name: string) => void;
}

export class LocalDisks implements HostDisks {
  readonly visits = null;
  readonly total: TotalBudget;
  readonly #options: LocalDisksOptions;
  readonly #table: DiskTable;
  readonly #vhostUser: VhostUserSockets;
  #nbd: NbdFrontEnd | null = null;
  #isStopping = false;

  constructor(options: LocalDisksOptions) {
    const { parts, codec, total, hasUnix, images, events, print, socketMode } = options;
    this.#options = options;
    this.total = total;
    this.#table = new DiskTable({
      ...{ parts, codec, total, hasUnix, images, events },
      log: print,
      frontEnds: () => this.#vhostUser,
      isStopping: () => this.#isStopping,
    });
    this.#vhostUser = new VhostUserSockets({
      ...{ parts, exports: this.#table.exports, mode: socketMode },
      ...{ log: options.log, trace: options.trace },
      nbd: () => this.#nbd,
    });
  }

  get exports(): DiskTable['exports'] {
    return this.#table.exports;
  }

  get configs(): readonly DiskConfig[] {
    return this.#table.disks.map(({ config }) => config);
  }

  figures(): readonly DiskFigures[] {
    return this.#table.disks.map((served) =>
      figuresOf(served, this.#connections(served.config.name)),
    );
  }

  figuresOf(name: string): DiskFigures {
    return figuresOf(this.#table.find(name), this.#connections(name));
  }

  refresh(): null {
    return null;
  }

  nbdStats(own: NbdFrontEndStats): NbdFrontEndStats {
    return own;
  }

  attach(nbd: NbdFrontEnd): void {
    this.#nbd = nbd;
  }

  add(config: DiskConfig, isLive: boolean): void | Promise<void> {
    if (config.vhostUser === undefined) this.#add(config, isLive);
    else return this.#addWithSocket(config, isLive);
  }

  /** Open the socket first: if that fails, the disk is not added. */
  async #addWithSocket(config: DiskConfig, isLive: boolean): Promise<void> {
    const { name } = config;
    const isNew = this.#table.exports.get(name) === undefined;
    if (isNew) await this.#vhostUser.open(config);
    try {
      this.#add(config, isLive);
    } catch (error) {
      if (isNew) this.#vhostUser.close(name);
      throw error;
    }
  }

  #add(config: DiskConfig, isLive: boolean): void {
    if (isLive) this.#table.addLive(config);
    else this.#table.add(config);
    this.#options.onChanged?.(config.name);
  }

  async remove(name: string, force: boolean): Promise<number> {
    const dropped = await this.#change(name, this.#table.remove(name, force));
    this.#vhostUser.close(name);
    return dropped;
  }

  set(name: string, change: DiskChange, force: boolean): Promise<void> {
    return this.#change(name, this.#table.set(name, change, force));
  }

  freeze(name: string): Promise<void> {
    return this.#table.freeze(name);
  }

  thaw(name: string): Promise<void> {
    return this.#table.thaw(name);
  }

  flush(name: string): Promise<number> {
    return this.#table.flush(name);
  }

  reset(name: string, force: boolean): Promise<number> {
    return this.#change(name, this.#table.reset(name, force));
  }

  startMaintenance(): () => void {
    const { parts, total, counters, log, isTotalWatched = false } = this.#options;
    return new DiskMaintenance({
      disks: this.#table.disks,
      ...{ total, isTotalWatched, counters, log },
      trim: () => parts.trim(),
      connections: (name) => this.#connections(name),
      reset: (name) => this.reset(name, false),
    }).start();
  }

  beginStop(): void {
    this.#isStopping = true;
  }

  dispose(): Promise<void> {
    this.#vhostUser.closeAll();
    return this.#table.dispose();
  }

  #connections(name: string): number {
    return this.#vhostUser.connections(name);
  }

  async #change<T>(name: string, running: Promise<T>): Promise<T> {
    try {
      return await running;
    } finally {
      this.#options.onChanged?.(name);
    }
  }
}
