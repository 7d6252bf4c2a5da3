/**
 * The disks of a host, and what an operator does with them while clients use them.
 *
 *   add       a new disk; clients can open it immediately
 *   remove    ends a disk; refused while it has clients or pages, unless forced
 *   set       limit, rate, keep, access: immediately. size: of a disk without clients and backing; its pages are kept
 *   freeze    requests of clients wait, without an error, until thaw; the other operations still work
 *   flush     moves the pages in memory to the backing
 *   reset     drops every page
 *
 * Invariants
 * - Only a forced remove and a reset lose pages: every other operation keeps all pages or is refused.
 * - At most one operation that moves or drops pages works on a disk at a time; a second one is refused.
 * - An operation on one disk does not disconnect the clients of another, and delays them by a few milliseconds at most.
 */
import type { Clock } from '../base/clock.ts';
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import { BioStatus } from '../block/bio.ts';
import { statsDisk } from '../block/filters/stats-disk.ts';
import { ExportGate } from '../nbd/server/export-gate.ts';
import { copyPages, hasStored } from './copy-pages.ts';
import { type AccessChange, changedAccess, noUnixSocket } from './disk-access.ts';
import type { DiskConfig } from './disk-config.ts';
import { DiskExports } from './disk-exports.ts';
import type { DiskImage } from './disk-image.ts';
import { setDiskLimit, writeBackPages } from './disk-limit.ts';
import { DiskProblem } from './disk-problem.ts';
import { textOfDisk } from './disk-text.ts';
import type { EventKind, HostEvents } from './events.ts';
import { FillWatch } from './fill-watch.ts';
import type { ImageFolder } from './image-folder.ts';
import { checkNewDisk, unknownDisk } from './new-disk.ts';
import type { FrontEnds, HostParts, Log, SwapDisk, TotalBudget } from './parts.ts';
import { bytesOf, type ServedDisk } from './served-disk.ts';
import { emptyDisk } from './turn.ts';

/** The settings of a disk that can change while it is served; absent: unchanged. */
export interface DiskChange {
  readonly sizeBytes?: number;
  readonly limitBytes?: number;
  readonly rateBytes?: number;
  readonly keepSeconds?: number | null;
  readonly access?: AccessChange;
}

export interface DiskTableOptions {
  readonly parts: HostParts;
  readonly codec: string;
  /** The limit of all disks together. */
  readonly total: TotalBudget;
  readonly log: Log;
  readonly events: Pick<HostEvents, 'emit'>;
  /** Called only by operations, not by the constructor. */
  readonly frontEnds: () => FrontEnds;
  readonly isStopping: () => boolean;
  /** The images of the disks, which outlive the host; null: the pages end with the host. */
  readonly images: ImageFolder | null;
  /** Whether the host listens on a Unix socket, where clients have user and group ids. */
  readonly hasUnix: boolean;
}

/** How long an operation waits for requests in flight or for memory to be released, and how often it checks, ms. */
const WAIT_MS_MAX = 2000;
const POLL_MS = 5;

const clock: Clock = { nowNs: () => performance.now() * 1e6 };

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

export class DiskTable {
  readonly exports: DiskExports = new DiskExports();
  readonly disks: ServedDisk[] = [];
  readonly #options: DiskTableOptions;
  readonly #running = new Set<Promise<unknown>>();

  constructor(options: DiskTableOptions) {
    this.#options = options;
  }

  /** @throws SwapError ERR_ARG_CONFLICT, ERR_ARG_VALUE; those of a disk that cannot be created */
  add(requested: DiskConfig): void {
    const { total, hasUnix } = this.#options;
    const { name } = requested;
    const disks = this.disks.map(({ config }) => config);
    const facts = { totalLimitBytes: total.limitBytes, hasUnix };
    const { config, disk, image } = this.#open(checkNewDisk(requested, disks, facts));
    const gate = new ExportGate();
    gate.setRate(config.rateBytes, performance.now());
    const served: ServedDisk = {
      config,
      disk,
      stats: statsDisk(disk, clock),
      gate,
      image,
      adoptedPages: disk.adopted?.pages ?? 0,
      isChanging: false,
      requestsSeen: 0,
      isStopped: false,
      invalidRequests: 0,
      problem: new DiskProblem(config.backing),
      fill: new FillWatch(),
      unused: null,
    };
    this.disks.push(served);
    this.exports.set(name, this.#exportOf(served));
    if (image !== null) this.exports.renew(name, image.header.generation);
  }

  /** As add(), while the host runs. */
  addLive(config: DiskConfig): void {
    this.add(config);
    this.#report('added', config.name, `${formatSize(config.sizeBytes)} disk added`);
  }

  /** @throws SwapError ERR_ARG_UNKNOWN */
  find(name: string): ServedDisk {
    const served = this.disks.find(({ config }) => config.name === name);
    if (served !== undefined) return served;
    throw unknownDisk(
      name,
      this.disks.map(({ config }) => config.name),
    );
  }

  /**
   * Ends a disk.
   * @param force disconnects its clients and drops its pages; otherwise a disk with clients or pages is refused
   * @returns bytes of the dropped pages
   * @throws SwapError ERR_ARG_UNKNOWN, ERR_IO_IN_USE
   */
  remove(name: string, force: boolean): Promise<number> {
    return this.#change(name, async (served) => {
      this.#checkClients(served, force, 'removing it');
      const held = bytesOf(served);
      if (!force && held > 0)
        throw new SwapError(
          'ERR_IO_IN_USE',
          `disk '${name}' has ${formatSize(held)} of pages: removing it would lose them; ` +
            'its client may reconnect; use --force to drop them',
          { disk: name },
        );
      this.exports.delete(name);
      try {
        await this.#drain(served, () => served.stats.inFlight === 0, 'nothing was removed');
      } catch (error) {
        if (!this.#options.isStopping()) this.exports.restore(name, this.#exportOf(served));
        throw error;
      }
      const dropped = bytesOf(served);
      this.disks.splice(this.disks.indexOf(served), 1);
      served.image?.remove(); // before a page is dropped: if the host is killed here, either all pages remain, or no disk
      await emptyDisk(served.disk);
      served.disk[Symbol.dispose]();
      served.image?.[Symbol.dispose]();
      this.#report('removed', name, `removed, ${formatSize(dropped)} of pages dropped`);
      return dropped;
    });
  }

  /**
   * Changes settings: all of them, or none.
   * @param force disconnects clients if the size changes, and clients that may no longer see the disk; their pages are kept
   * @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE, ERR_IO_IN_USE, ERR_IO_NO_ROOM: the pages do not fit
   */
  async set(name: string, { access, ...change }: DiskChange, force: boolean): Promise<void> {
    const movesPages = change.sizeBytes !== undefined || change.limitBytes !== undefined;
    const apply = async (served: ServedDisk): Promise<void> => {
      const before = served.config;
      if (access !== undefined) this.#checkAccess(served, access, force);
      const config = { ...before, ...change };
      if (config.sizeBytes !== before.sizeBytes) await this.#resize(served, config, force);
      else if (config.limitBytes !== before.limitBytes)
        await setDiskLimit(served, config, this.#options.isStopping);
      served.config = { ...served.config, ...change }; // another change may have ended in the meantime
      served.image?.update({ settings: textOfDisk(served.config) });
      if (change.rateBytes !== undefined) {
        served.gate.setRate(change.rateBytes, performance.now());
        this.#options.frontEnds().resume(name);
      }
      if (access !== undefined) this.#setAccess(served, access);
      const keys = Object.keys(access === undefined ? change : { ...change, access });
      const text = keys.map((key) => key.replace(/Bytes$|Seconds$/, ''));
      this.#report('changed', name, `${text.join(', ')} changed`);
    };
    // Rate and keep time can be changed while another operation moves pages.
    if (movesPages) await this.#change(name, apply);
    else await apply(this.find(name));
  }

  /** Requests that arrive from now on wait. Returns once those in flight have completed. */
  async freeze(name: string): Promise<void> {
    const served = this.find(name);
    served.gate.isFrozen = true;
    if (!(await this.#settle(served))) {
      await this.thaw(name);
      throw new SwapError(
        'ERR_IO_IN_USE',
        `disk '${name}' still has requests in flight after ${WAIT_MS_MAX} ms; it is not frozen, try again`,
        { disk: name },
      );
    }
    this.#report('frozen', name, 'frozen: requests wait until it is thawed');
  }

  async thaw(name: string): Promise<void> {
    this.find(name).gate.isFrozen = false;
    this.#options.frontEnds().resume(name);
    this.#report('thawed', name, 'thawed');
  }

  /**
   * Moves the pages in memory to the backing, except pages without payload and pages that the backing has no space for.
   * @returns increase of the bytes stored on the backing
   * @throws SwapError ERR_ARG_UNKNOWN, ERR_IO_IN_USE; ERR_IO_UNSUPPORTED: it has no backing; ERR_IO_SYSTEM: that failed
   */
  flush(name: string): Promise<number> {
    return this.#change(name, async (served) => {
      if (served.config.backing === undefined)
        throw new SwapError(
          'ERR_IO_UNSUPPORTED',
          `disk '${name}' has no backing to move its pages to; add it with backing=PATH`,
          { disk: name },
        );
      const before = served.disk.stats().backingBytes;
      await writeBackPages(served, this.#options.isStopping);
      const moved = Math.max(0, served.disk.stats().backingBytes - before);
      this.#report('flushed', name, `flushed, ${formatSize(moved)} of pages moved to the backing`);
      return moved;
    });
  }

  /**
   * Empties a disk and gives it a new generation: a client that reconnects with the old one is refused, so that it does not
   * read zeros in place of its pages.
   * @param force disconnects the clients of the disk; otherwise a disk with clients is refused
   * @returns bytes of the dropped pages
   * @throws SwapError ERR_ARG_UNKNOWN, ERR_IO_IN_USE
   */
  reset(name: string, force: boolean): Promise<number> {
    return this.#change(name, async (served) => {
      this.#checkClients(served, force, 'reset');
      let dropped = 0;
      const isIdle = (): boolean => served.stats.inFlight === 0;
      served.gate.isPaused = true; // a client that connects meanwhile waits, and is disconnected at the end
      try {
        await this.#drain(served, isIdle, 'nothing was dropped');
        dropped = bytesOf(served);
        this.exports.renew(name); // before a page is dropped
        served.image?.update({ generation: this.exports.generationOf(name) });
        await emptyDisk(served.disk);
        await this.#drain(served, () => served.disk.reset(), 'its pages were dropped');
      } finally {
        served.gate.isPaused = false;
        this.#options.frontEnds().resume(name);
      }
      this.#report('reset', name, `reset, ${formatSize(dropped)} of pages dropped`);
      return dropped;
    });
  }

  /** Waits for the operations in progress, which end early because the host is stopping, and frees every disk. */
  async dispose(): Promise<void> {
    await Promise.allSettled(this.#running);
    for (const { disk, image } of this.disks.splice(0)) {
      disk[Symbol.dispose]();
      image?.[Symbol.dispose]();
    }
  }

  #open(config: DiskConfig): { config: DiskConfig; disk: SwapDisk; image: DiskImage | null } {
    const { images } = this.#options;
    if (images === null) return { config, disk: this.#create(config, null), image: null };
    return images.open(config, (opened, image) => this.#create(opened, image));
  }

  #create(config: DiskConfig, images: DiskImage | null): SwapDisk {
    const { parts, codec, total } = this.#options;
    const { sizeBytes, limitBytes, backing } = config;
    const withBacking = backing === undefined ? {} : { backing };
    const withImages = images === null ? {} : { images };
    return parts.createDisk({ sizeBytes, limitBytes, total, codec, ...withBacking, ...withImages });
  }

  #exportOf(served: ServedDisk): Parameters<DiskExports['set']>[1] {
    const { name, sizeBytes, isShared, access = null } = served.config;
    return {
      name,
      description: `frontswap ${formatSize(sizeBytes)} ${this.#options.codec}`,
      disk: served.stats,
      isShared,
      access,
      gate: served.gate,
      whyBusy: () => this.#options.frontEnds().whyBusy(name),
      onInvalid: () => {
        served.invalidRequests++;
      },
    };
  }

  /** Runs an operation on a disk that no other operation is changing. */
  async #change<T>(name: string, run: (served: ServedDisk) => Promise<T>): Promise<T> {
    const served = this.find(name);
    if (served.isChanging)
      throw new SwapError(
        'ERR_IO_IN_USE',
        `disk '${name}' is being changed by another command; try again`,
        { disk: name },
      );
    served.isChanging = true;
    const running = run(served);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
      served.isChanging = false;
    }
  }

  #checkClients({ config: { name } }: ServedDisk, force: boolean, what: string): void {
    const clients = this.#options.frontEnds().connections(name);
    if (clients === 0 || force) return;
    throw new SwapError(
      'ERR_IO_IN_USE',
      `disk '${name}' is in use (${plural(clients, 'connection')}): ${what} would lose its client's pages; ` +
        'detach the client first, or use --force',
      { disk: name, clients },
    );
  }

  /** @throws SwapError ERR_ARG_CONFLICT; ERR_IO_IN_USE: a client has the disk open and would no longer see it */
  #checkAccess({ config }: ServedDisk, change: AccessChange, force: boolean): void {
    const { name } = config;
    const access = changedAccess(config.access ?? null, change);
    if (access === null) return;
    if (!this.#options.hasUnix) throw noUnixSocket('the request', name);
    const clients = this.#options.frontEnds().outsiders(name, access);
    if (clients > 0 && !force)
      throw new SwapError(
        'ERR_IO_IN_USE',
        `disk '${name}' is open to ${plural(clients, 'connection')} of users that would no longer see it; ` +
          'detach these clients first, or use --force to disconnect them (their pages are kept)',
        { disk: name, clients },
      );
  }

  #setAccess(served: ServedDisk, change: AccessChange): void {
    const { access: before = null, ...config } = served.config;
    const access = changedAccess(before, change);
    served.config = access === null ? config : { ...config, access };
    this.exports.restore(config.name, this.#exportOf(served));
    if (access !== null) this.#options.frontEnds().disconnect(config.name, access);
  }

  /** Disconnects the clients, and ticks the disk, until `isDone`. */
  async #drain(served: ServedDisk, isDone: () => boolean, otherwise: string): Promise<void> {
    const { name } = served.config;
    const deadline = performance.now() + WAIT_MS_MAX;
    for (;;) {
      if (this.#options.isStopping())
        throw new SwapError('ERR_IO_IN_USE', `disk '${name}': the host is stopping; ${otherwise}`, {
          disk: name,
        });
      this.#options.frontEnds().disconnect(name);
      if (isDone()) return;
      if (performance.now() > deadline)
        throw new SwapError(
          'ERR_IO_IN_USE',
          `disk '${name}' still has requests in flight after ${WAIT_MS_MAX} ms; ${otherwise}, try again`,
          { disk: name },
        );
      // Requests to a backing complete in ticks. A client that connects meanwhile is disconnected, too.
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      served.disk.tick();
    }
  }

  /** Waits until no request is in flight; clients stay connected. False: some still are. */
  async #settle(served: ServedDisk): Promise<boolean> {
    const deadline = performance.now() + WAIT_MS_MAX;
    while (served.stats.inFlight > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      served.disk.tick();
    }
    return served.stats.inFlight === 0;
  }

  /** Moves the pages to a new disk. The clients see the new size when they connect again. */
  async #resize(served: ServedDisk, config: DiskConfig, force: boolean): Promise<void> {
    const { name, sizeBytes } = config;
    const refuse = (code: 'ERR_IO_IN_USE' | 'ERR_IO_NO_ROOM' | 'ERR_IO_UNSUPPORTED', why: string) =>
      new SwapError(code, `disk '${name}' keeps its size: ${why}`, { disk: name });
    if (config.backing !== undefined)
      throw refuse('ERR_IO_UNSUPPORTED', 'a disk with a backing cannot be resized');
    const refuseBehind = async (): Promise<void> => {
      if (await hasStored(served.disk, sizeBytes))
        throw refuse('ERR_IO_IN_USE', `it has pages past ${formatSize(sizeBytes)}`);
    };
    const clients = this.#options.frontEnds().connections(name);
    if (clients > 0 && !force)
      throw refuse(
        'ERR_IO_IN_USE',
        `it has ${plural(clients, 'connection')}, and clients learn a size only when they connect; ` +
          'detach the client first, or use --force to disconnect it (its pages are kept)',
      );
    served.gate.isPaused = true; // a client that connects meanwhile waits, and is disconnected at the end
    let target: SwapDisk | null = null;
    let isReplaced = false;
    let image: DiskImage | null = null; // the one to close at the end
    try {
      await refuseBehind(); // before clients are disconnected
      await this.#drain(served, () => served.stats.inFlight === 0, 'nothing was changed');
      image = this.#options.images?.prepare(config, this.exports.generationOf(name)) ?? null;
      target = this.#create(config, image);
      const status = await copyPages(served.disk, target, this.#options.isStopping);
      if (this.#options.isStopping()) throw refuse('ERR_IO_IN_USE', 'the host is stopping');
      if (status !== BioStatus.ok)
        throw refuse(
          status === BioStatus.noSpace ? 'ERR_IO_NO_ROOM' : 'ERR_IO_IN_USE',
          status === BioStatus.noSpace
            ? 'the change needs memory for two copies of its pages, which exceeds a limit'
            : 'a page could not be read',
        );
      this.#options.frontEnds().disconnect(name);
      if (image !== null) this.#options.images?.replace(name, image); // the commit
      const old = served.disk;
      served.disk = target;
      [image, served.image] = [served.image, image];
      isReplaced = true;
      served.stats = statsDisk(target, clock);
      target = null;
      // Rate and keep time may have changed in the meantime.
      served.config = { ...served.config, sizeBytes, limitBytes: config.limitBytes };
      this.exports.restore(name, this.#exportOf(served));
      await emptyDisk(old);
      old[Symbol.dispose]();
    } finally {
      target?.[Symbol.dispose]();
      if (!isReplaced) image?.remove();
      image?.[Symbol.dispose]();
      served.gate.isPaused = false;
      this.#options.frontEnds().resume(name);
    }
  }

  #report(event: EventKind, name: string, message: string): void {
    this.#options.log(`disk ${name}: ${message}`);
    this.#options.events.emit(event, name, message);
  }
}
