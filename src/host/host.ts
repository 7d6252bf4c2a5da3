/**
 * A running host: disks behind an NBD server, and a control socket.
 *
 *   start   disks → NBD server → listeners → control socket → pid file → ready
 *   stop    the same in reverse; a failed start undoes its steps in the same way
 *
 * Invariants
 * - start() either leaves everything running or nothing behind.
 * - stop() is safe to call twice and removes every file that start() made.
 *
 * Not here: signals, terminals and exit codes (cli/), protocols (nbd/protocol), how a disk stores pages (block/disks).
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Budget } from '../arena/budget.ts';
import type { Counters } from '../base/counters.ts';
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import {
  claimSocketPath,
  controlSocketPath,
  type OwnFile,
  ownFile,
  removeOwn,
  type SocketPath,
  unixListenError,
  unixSocketPath,
} from '../os/unix-socket.ts';
import type { HostConfig, TcpConfig } from './config.ts';
import { controlPathIn, takeControlName } from './control-names.ts';
import { ControlServer } from './control-server.ts';
import { type HostCounter, hostCounters } from './counters.ts';
import { DiskExports } from './disk-exports.ts';
import { DiskMaintenance, requestsOf, type ServedDisk, servedDisk } from './disk-maintenance.ts';
import { describeNbdFigures, healthDocument } from './health.ts';
import { type DiskReport, type ListDocument, listDocument } from './list-document.ts';
import type { HostParts, Log, NbdFrontEnd } from './parts.ts';
import { PidFile } from './pid-file.ts';
import {
  makePrivateFolder,
  makeRandomFolder,
  OWNER_FILE,
  sweepDeadFolders,
} from './runtime-folder.ts';
import { firstPort } from './tcp-port.ts';
import { formatUri, type NbdAddress } from './uri.ts';

export interface HostOptions {
  readonly config: HostConfig;
  readonly parts: HostParts;
  /** Where private sockets and the default control socket go; made when needed. */
  readonly runtimeFolder: string;
  /** User id that must own that folder. */
  readonly uid: number;
  readonly version: string;
  readonly log: Log;
  /** Gets a line for each connection; null: no trace. */
  readonly trace: Log | null;
  /** Called when a client of the control socket requests a stop. @throws SwapError ERR_IO_IN_USE: not now */
  readonly checkStop: (force: boolean) => void;
  /** A stop was requested and is allowed. */
  readonly onStopRequest: () => void;
}

/** All disks together, for a status line. */
export interface HostTotals {
  readonly diskCount: number;
  readonly dataBytes: number;
  readonly compressedBytes: number;
  readonly usedBytes: number;
  readonly connections: number;
  readonly requests: number;
}

/** How long a reset waits for requests under way, and how often it looks. */
const resetMsMax = 2000;
const resetAgainMs = 5;

export class Host {
  readonly #options: HostOptions;
  readonly #disks: ServedDisk[] = [];
  readonly #addresses: NbdAddress[] = [];
  readonly #counters: Counters<HostCounter> = hostCounters();
  readonly #startedAt: number = Date.now();
  /** What stop() has to undo, newest last. */
  readonly #undo: (() => void | Promise<void>)[] = [];
  /** Sockets; removed when no server listens on them any more. */
  readonly #files: OwnFile[] = [];
  /** The one of --pidfile, and the one in the private folder. */
  readonly #pidFiles: PidFile[] = [];
  readonly #exports = new DiskExports();
  /** The ceiling of all disks together. */
  readonly #total: Budget;
  #nbd: NbdFrontEnd | null = null;
  #controlPath: string | null = null;
  #privateFolder: string | null = null;
  #stopping: Promise<void> | null = null;

  private constructor(options: HostOptions) {
    this.#options = options;
    this.#total = new Budget(options.config.totalLimitBytes);
  }

  /** @throws SwapError with nothing left running */
  static async start(options: HostOptions): Promise<Host> {
    const host = new Host(options);
    try {
      host.#createDisks();
      await host.#listen();
      await host.#openControl();
      host.#writePidFile();
      host.#startCare();
    } catch (error) {
      await host.stop().catch(() => undefined); // the first error is the cause
      throw error;
    }
    return host;
  }

  get addresses(): readonly NbdAddress[] {
    return this.#addresses;
  }

  get controlPath(): string | null {
    return this.#controlPath;
  }

  get defaultExport(): string {
    return this.#options.config.disks[0]?.name ?? '';
  }

  /** One URI a listener, of the default export. */
  get uris(): readonly string[] {
    return this.#urisOf(this.defaultExport);
  }

  report(): ListDocument {
    return listDocument(
      this.#disks.map(({ config: { name }, disk, invalidRequests }): DiskReport => {
        const stats = disk.stats();
        return {
          name,
          readOnly: disk.readOnly,
          connections: this.#nbd?.connections(name) ?? 0,
          uris: this.#urisOf(this.#exports.nameNow(name)),
          hostPid: process.pid,
          hostControl: this.#controlPath ?? '',
          ...stats,
          invalidIo: stats.invalidIo + invalidRequests,
        };
      }),
    );
  }

  totals(): HostTotals {
    const totals = {
      diskCount: this.#disks.length,
      dataBytes: 0,
      compressedBytes: 0,
      usedBytes: 0,
      connections: 0,
      requests: 0,
    };
    for (const { config, disk } of this.#disks) {
      const stats = disk.stats();
      totals.dataBytes += stats.dataBytes;
      totals.compressedBytes += stats.compressedBytes;
      totals.usedBytes += stats.usedBytes;
      totals.connections += this.#nbd?.connections(config.name) ?? 0;
      totals.requests += requestsOf(stats);
    }
    return totals;
  }

  /**
   * Empties a disk and gives it a new generation, so that a client that reconnects under the old one cannot read zeros.
   * @param force hangs up on its clients first; without it a disk that has some is refused
   * @returns bytes of pages that are gone
   * @throws SwapError ERR_ARG_UNKNOWN, ERR_IO_IN_USE
   */
  async reset(name: string, force: boolean): Promise<number> {
    const served = this.#disks.find(({ config }) => config.name === name);
    const door = this.#nbd;
    if (served === undefined || door === null)
      throw new SwapError('ERR_ARG_UNKNOWN', `the host has no disk '${name}'`, { value: name });
    const clients = door.connections(name);
    if (clients > 0 && !force)
      throw new SwapError(
        'ERR_IO_IN_USE',
        `disk '${name}' has ${clients} client(s), whose swapped-out pages would be lost; detach them, or use --force`,
        { disk: name, clients },
      );
    const deadline = performance.now() + resetMsMax;
    const { dataBytes } = served.disk.stats();
    for (;;) {
      if (this.#stopping !== null)
        throw new SwapError('ERR_IO_IN_USE', `disk '${name}' was not reset: the host is stopping`, {
          disk: name,
        });
      door.disconnect(name);
      if (served.disk.reset()) break;
      if (performance.now() > deadline)
        throw new SwapError(
          'ERR_IO_IN_USE',
          `disk '${name}' still has requests under way after ${resetMsMax} ms; nothing was dropped, try again`,
          { disk: name },
        );
      // Requests to a backing file finish by themselves. A client that connects meanwhile is disconnected too.
      await new Promise((resolve) => setTimeout(resolve, resetAgainMs));
      served.disk.tick();
    }
    this.#exports.renew(name);
    this.#options.log(`disk ${name}: reset, ${formatSize(dataBytes)} of pages dropped`);
    return dataBytes;
  }

  /** The answer of `GET /v1/health`. */
  health(): object {
    return healthDocument({
      version: this.#options.version,
      uptimeSeconds: Math.floor((Date.now() - this.#startedAt) / 1000),
      uris: this.uris,
      counters: this.#counters,
      disks: this.report().disks,
      nbd: this.#nbd?.stats ?? null,
    });
  }

  /** The host's own counters and those of the NBD server, one per line. */
  describeCounters(): string {
    return (
      this.#counters.describe() + (this.#nbd === null ? '' : describeNbdFigures(this.#nbd.stats))
    );
  }

  /** Stops accepting, answers what is in flight, removes sockets and files. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#undoAll();
    return this.#stopping;
  }

  async #undoAll(): Promise<void> {
    let failure: unknown;
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        await undo();
      } catch (error) {
        failure ??= error; // the rest must be undone nevertheless
      }
    }
    this.removeFiles();
    if (failure !== undefined) throw failure;
  }

  /** Removes what start() made in the file system, at once: the last act of a stop, or of a process that ends now. */
  removeFiles(): void {
    for (let file = this.#files.pop(); file !== undefined; file = this.#files.pop())
      removeOwn(file);
    for (const file of this.#pidFiles) file.remove();
    if (this.#privateFolder !== null) rmSync(this.#privateFolder, { recursive: true, force: true });
    this.#privateFolder = null;
  }

  #urisOf(exportName: string): string[] {
    return this.#addresses.map((address) => formatUri(address, exportName));
  }

  #createDisks(): void {
    const { config, parts } = this.#options;
    for (const disk of config.disks) {
      const served = parts.createDisk({
        sizeBytes: disk.sizeBytes,
        limitBytes: disk.limitBytes,
        total: this.#total,
        codec: config.codec,
        ...(disk.backing === undefined ? {} : { backing: disk.backing }),
      });
      this.#undo.push(() => served[Symbol.dispose]());
      const { name } = disk;
      const description = `frontswap ${formatSize(disk.sizeBytes)} ${config.codec}`;
      const kept = servedDisk(disk, served);
      const onInvalid = (): void => {
        kept.invalidRequests++;
      };
      const { isShared } = disk;
      this.#exports.set(name, { name, description, disk: served, isShared, onInvalid });
      this.#disks.push(kept);
    }
  }

  async #listen(): Promise<void> {
    const { config, parts, log, trace } = this.#options;
    const door = parts.createNbd({
      exports: this.#exports,
      maxClients: config.maxClients,
      log,
      trace,
    });
    this.#nbd = door;
    this.#undo.push(() => door.close());
    if (config.unix !== null) await this.#listenUnix(door, config.unix);
    if (config.tcp !== null) await this.#listenTcp(door, config.tcp);
  }

  async #listenUnix(door: NbdFrontEnd, wanted: string): Promise<void> {
    const path = wanted === '-' ? join(this.#makePrivateFolder(), 'nbd.sock') : wanted;
    await listenAt(unixSocketPath(path), () =>
      door.listenUnix(path, this.#options.config.socketMode),
    );
    this.#files.push(ownFile(path));
    this.#addresses.push({ kind: 'unix', path });
  }

  async #listenTcp(door: NbdFrontEnd, tcp: TcpConfig): Promise<void> {
    const { host } = tcp;
    const { port } = await firstPort(tcp, (at) => door.listenTcp(host, at));
    if (tcp.orNext && port !== tcp.port)
      this.#options.log(`port ${tcp.port} on ${host} is in use: serving on port ${port}`);
    this.#addresses.push({ kind: 'tcp', host: connectable(host), port });
  }

  /** Folder of the sockets of this user's hosts; removes leftovers of killed hosts. */
  #openRuntimeFolder(): string {
    const { runtimeFolder, uid, trace } = this.#options;
    makePrivateFolder(runtimeFolder, uid);
    const gone = sweepDeadFolders(runtimeFolder, uid);
    if (gone > 0) trace?.(`removed ${gone} folder(s) of dead hosts from ${runtimeFolder}`);
    return runtimeFolder;
  }

  /** The private folder of this host; created on first use. */
  #makePrivateFolder(): string {
    if (this.#privateFolder === null) {
      this.#privateFolder = makeRandomFolder(this.#openRuntimeFolder());
      this.#pidFiles.push(PidFile.write(join(this.#privateFolder, OWNER_FILE)));
    }
    return this.#privateFolder;
  }

  async #openControl(): Promise<void> {
    const place = await this.#chooseControlPath();
    if (place === null) return;
    const { path } = place;
    const handlers = {
      disks: () => this.report(),
      health: () => this.health(),
      reset: (name: string, force: boolean) => this.reset(name, force),
      checkStop: (force: boolean) => this.#options.checkStop(force),
      stop: () => this.#options.onStopRequest(),
    };
    const control = await listenAt(place, () =>
      ControlServer.listen(path, handlers, this.#counters),
    );
    this.#controlPath = path;
    this.#files.push(ownFile(path));
    this.#undo.push(() => control.close());
  }

  async #chooseControlPath(): Promise<SocketPath | null> {
    const { config } = this.#options;
    if (config.control === null) return null;
    if (config.control === 'private')
      return controlSocketPath(join(this.#makePrivateFolder(), 'control.sock'), false);
    if (config.control !== 'default') return controlSocketPath(config.control.path, false);
    const folder = this.#openRuntimeFolder();
    const { path, pidFile, number } = await takeControlName(folder);
    this.#pidFiles.push(pidFile);
    if (number > 1)
      this.#options.log(
        `the control socket ${controlPathIn(folder)} is in use: listening on ${path}`,
      );
    return controlSocketPath(path, true);
  }

  #writePidFile(): void {
    const path = this.#options.config.pidFile;
    if (path !== null) this.#pidFiles.push(PidFile.write(path));
  }

  #startCare(): void {
    const { log, parts } = this.#options;
    const care = new DiskMaintenance({
      disks: this.#disks,
      total: this.#total,
      counters: this.#counters,
      log,
      trim: () => parts.trim(),
      connections: (name) => this.#nbd?.connections(name) ?? 0,
      reset: (name) => this.reset(name, false),
    });
    this.#undo.push(care.start());
  }
}

/** Makes the path free and listens there; what the system says against it becomes an error that helps. */
async function listenAt<T>(place: SocketPath, listen: () => Promise<T>): Promise<T> {
  await claimSocketPath(place);
  try {
    return await listen();
  } catch (cause) {
    throw unixListenError(place, cause);
  }
}

/** An address that clients can connect to, in place of "all addresses". */
const connectable = (host: string): string => {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
};
