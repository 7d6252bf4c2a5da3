/**
 * A running host: disks behind an NBD server, and a control socket.
 *
 *   start   disks → NBD server → listeners → control socket → pid file → maintenance
 *   stop    the same in reverse; a failed start undoes its steps in the same way
 *
 * Invariants
 * - start() leaves either everything running or nothing.
 * - stop() is safe to call twice and removes every file that start() created.
 *
 * Elsewhere: signals, terminals and exit codes (cli/), the protocol (nbd/protocol), storage of pages (block/disks).
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
  /** Folder of private sockets and of the default control socket; created when needed. */
  readonly runtimeFolder: string;
  /** User id that must own that folder. */
  readonly uid: number;
  readonly version: string;
  readonly log: Log;
  /** Receives a line for each connection; null: no trace. */
  readonly trace: Log | null;
  /** Called when a client of the control socket requests a stop. @throws SwapError ERR_IO_IN_USE: it is refused */
  readonly checkStop: (force: boolean) => void;
  /** Called when such a stop is allowed. */
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

/** How long a reset waits for requests in flight, and how often it checks, ms. */
const RESET_MS_MAX = 2000;
const RESET_POLL_MS = 5;

export class Host {
  readonly #options: HostOptions;
  readonly #disks: ServedDisk[] = [];
  readonly #addresses: NbdAddress[] = [];
  readonly #counters: Counters<HostCounter> = hostCounters();
  readonly #startedAt: number = Date.now();
  /** The steps that stop() undoes, newest last. */
  readonly #undo: (() => void | Promise<void>)[] = [];
  /** Sockets, removed once no server listens on them. */
  readonly #files: OwnFile[] = [];
  /** Of --pidfile, of the control socket's name, and of the private folder. */
  readonly #pidFiles: PidFile[] = [];
  readonly #exports = new DiskExports();
  /** The limit of all disks together. */
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
      host.#startMaintenance();
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

  /** The URIs of the default export, one per listener. */
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
   * Empties a disk and gives it a new generation: a client that reconnects under the old one is refused, and does not read
   * zeros in place of its pages.
   * @param force disconnects the clients of the disk; without it a disk with clients is refused
   * @returns bytes of the dropped pages
   * @throws SwapError ERR_ARG_UNKNOWN, ERR_IO_IN_USE
   */
  async reset(name: string, force: boolean): Promise<number> {
    const served = this.#disks.find(({ config }) => config.name === name);
    const nbd = this.#nbd;
    if (served === undefined || nbd === null)
      throw new SwapError('ERR_ARG_UNKNOWN', `the host has no disk '${name}'`, { value: name });
    const clients = nbd.connections(name);
    if (clients > 0 && !force)
      throw new SwapError(
        'ERR_IO_IN_USE',
        `disk '${name}' is in use (${clients} connection${clients === 1 ? '' : 's'}): reset would lose its client's pages; detach the client first, or use --force`,
        { disk: name, clients },
      );
    const deadline = performance.now() + RESET_MS_MAX;
    const { dataBytes } = served.disk.stats();
    for (;;) {
      if (this.#stopping !== null)
        throw new SwapError('ERR_IO_IN_USE', `disk '${name}' was not reset: the host is stopping`, {
          disk: name,
        });
      nbd.disconnect(name);
      if (served.disk.reset()) break;
      if (performance.now() > deadline)
        throw new SwapError(
          'ERR_IO_IN_USE',
          `disk '${name}' still has requests in flight after ${RESET_MS_MAX} ms; nothing was dropped, try again`,
          { disk: name },
        );
      // Requests to a backing complete in ticks. A client that connects meanwhile is disconnected, too.
      await new Promise((resolve) => setTimeout(resolve, RESET_POLL_MS));
      served.disk.tick();
    }
    this.#exports.renew(name);
    this.#options.log(`disk ${name}: reset, ${formatSize(dataBytes)} of pages dropped`);
    return dataBytes;
  }

  /** The reply to `GET /v1/health`. */
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

  /** Stops accepting, completes requests in flight, removes sockets and files. Safe to call twice. */
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
        failure ??= error; // undo the other steps nevertheless
      }
    }
    this.removeFiles();
    if (failure !== undefined) throw failure;
  }

  /** Removes the files that start() created. Synchronous, so that a process can call it at its exit. */
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
      const entry = servedDisk(disk, served);
      const onInvalid = (): void => {
        entry.invalidRequests++;
      };
      const { isShared } = disk;
      this.#exports.set(name, { name, description, disk: served, isShared, onInvalid });
      this.#disks.push(entry);
    }
  }

  async #listen(): Promise<void> {
    const { config, parts, log, trace } = this.#options;
    const nbd = parts.createNbd({
      exports: this.#exports,
      maxClients: config.maxClients,
      log,
      trace,
    });
    this.#nbd = nbd;
    this.#undo.push(() => nbd.close());
    if (config.unix !== null) await this.#listenUnix(nbd, config.unix);
    if (config.tcp !== null) await this.#listenTcp(nbd, config.tcp);
  }

  async #listenUnix(nbd: NbdFrontEnd, requested: string): Promise<void> {
    const path = requested === '-' ? join(this.#makePrivateFolder(), 'nbd.sock') : requested;
    await listenAt(unixSocketPath(path), () =>
      nbd.listenUnix(path, this.#options.config.socketMode),
    );
    this.#files.push(ownFile(path));
    this.#addresses.push({ kind: 'unix', path });
  }

  async #listenTcp(nbd: NbdFrontEnd, tcp: TcpConfig): Promise<void> {
    const { host } = tcp;
    const { port } = await firstPort(tcp, (at) => nbd.listenTcp(host, at));
    if (tcp.orNext && port !== tcp.port)
      this.#options.log(`port ${tcp.port} on ${host} is in use: serving on port ${port}`);
    this.#addresses.push({ kind: 'tcp', host: connectable(host), port });
  }

  /** Creates or checks the folder for sockets of this user's hosts; removes the folders of killed hosts. */
  #openRuntimeFolder(): string {
    const { runtimeFolder, uid, trace } = this.#options;
    makePrivateFolder(runtimeFolder, uid);
    const count = sweepDeadFolders(runtimeFolder, uid);
    if (count > 0) trace?.(`removed ${count} folder(s) of dead hosts from ${runtimeFolder}`);
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

  #startMaintenance(): void {
    const { log, parts } = this.#options;
    const maintenance = new DiskMaintenance({
      disks: this.#disks,
      total: this.#total,
      counters: this.#counters,
      log,
      trim: () => parts.trim(),
      connections: (name) => this.#nbd?.connections(name) ?? 0,
      reset: (name) => this.reset(name, false),
    });
    this.#undo.push(maintenance.start());
  }
}

/** Removes a stale socket and listens at its path. System errors become SwapErrors with advice. */
async function listenAt<T>(place: SocketPath, listen: () => Promise<T>): Promise<T> {
  await claimSocketPath(place);
  try {
    return await listen();
  } catch (cause) {
    throw unixListenError(place, cause);
  }
}

/** An address that clients can connect to, for a host that listens on all addresses. */
const connectable = (host: string): string => {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
};
