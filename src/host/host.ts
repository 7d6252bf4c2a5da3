/**
 * A running host: disks behind an NBD server, and a control socket.
 *
 *   start   disks → NBD server → listeners → tmem socket → control socket → pid file → maintenance
 *   stop    the same in reverse; a failed start undoes its steps in this way, too
 *
 * Invariants
 * - start() leaves either everything running or nothing.
 * - stop() is safe to call twice and removes every file that start() created.
 *
 * Elsewhere: signals, terminals and exit codes (cli/), the protocol (nbd/protocol), storage of pages (block/disks).
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Counters } from '../base/counters.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import {
  changeMode,
  controlSocketPath,
  type OwnFile,
  ownFile,
  removeOwn,
  type SocketPath,
  unixSocketPath,
} from '../os/unix-socket.ts';
import { type LimitDefaults, resolveDisk } from './config/disk-schema.ts';
import type { HostConfig, TcpConfig } from './config/host-config.ts';
import { controlPathIn, takeControlName } from './control-names.ts';
import type { ControlHandlers } from './control-routes.ts';
import { ControlServer } from './control-server.ts';
import { type HostCounter, hostCounters } from './counters.ts';
import { createDisks } from './create-disks.ts';
import { Dashboard } from './dashboard.ts';
import type { DiskText } from './disk-config.ts';
import { type DiskFigures, reportOf } from './disk-figures.ts';
import { HostEvents } from './events.ts';
import { describeNbdFigures, type HealthFacts, healthDocument } from './health.ts';
import type { HostDisks } from './host-disks.ts';
import type { HostOptions } from './host-options.ts';
import { ImageFolder } from './image-folder.ts';
import { setTotal } from './limits.ts';
import { type DiskReport, type ListDocument, listDocument } from './list-document.ts';
import { connectable, listenAt } from './listen.ts';
import type { MetricsFacts } from './metric-family.ts';
import { MetricsListener } from './metrics-listener.ts';
import { type MetricsAddress, MetricsServer, metricsRoutes } from './metrics-server.ts';
import type { Log, NbdFrontEnd, TmemFrontEnd } from './parts.ts';
import { PidFile } from './pid-file.ts';
import { EventLoopWatch, readProcess } from './process-figures.ts';
import type { ReloadTarget } from './reload/apply.ts';
import { canExchangeTls } from './reload/plan.ts';
import { Reloader } from './reload/reloader.ts';
import { makeRandomFolder, OWNER_FILE, openRuntimeFolder } from './runtime-folder.ts';
import { firstPort } from './tcp-port.ts';
import { loadTls } from './tls-files.ts';
import { listenTmem } from './tmem-part.ts';
import { type HostTotals, totalsOf } from './totals.ts';
import { formatUri, httpUrl, type NbdAddress, type UriTls } from './uri.ts';

export class Host {
  readonly #options: HostOptions;
  readonly #disks: HostDisks;
  readonly #events = new HostEvents();
  /** Lines for the operator; each is also an event. */
  readonly #log: Log;
  readonly #addresses: NbdAddress[] = [];
  readonly #counters: Counters<HostCounter> = hostCounters();
  readonly #startedAt: number = Date.now();
  readonly #images: ImageFolder | null;
  /** The steps for stop() to undo, newest last. */
  readonly #undo: (() => void | Promise<void>)[] = [];
  /** Sockets, to be removed once no server listens on them. */
  readonly #files: OwnFile[] = [];
  readonly #pidFiles: PidFile[] = [];
  readonly #handlers: ControlHandlers = this.#createHandlers();
  readonly #dashboard: Dashboard;
  readonly #metrics: MetricsListener = new MetricsListener((address) =>
    MetricsServer.listen(address, () => this.#metricsFacts(), this.#counters),
  );
  /** Limit of a disk that is added without its own. */
  #defaultLimitBytes: number;
  readonly #reloader: Reloader;
  #nbd: NbdFrontEnd | null = null;
  #tmem: TmemFrontEnd | null = null;
  #controlPath: string | null = null;
  #eventLoop: EventLoopWatch | null = null;
  #isReady = false;
  #privateFolder: string | null = null;
  #stopping: Promise<void> | null = null;

  private constructor(options: HostOptions) {
    this.#options = options;
    this.#defaultLimitBytes = options.config.defaultLimitBytes;
    this.#log = (line) => {
      options.log(line);
      this.#events.emit('log', null, line);
    };
    const reporters = { log: this.#log, counters: this.#counters };
    this.#images = ImageFolder.of(options.config, options.uid, reporters);
    this.#disks = createDisks(options, {
      ...{ events: this.#events, ...reporters },
      images: this.#images,
      trace: (line) => this.#traceClient(line),
      onLost: (line) => {
        this.#logError(line);
        options.onLost?.();
      },
    });
    this.#dashboard = new Dashboard({
      facts: () => this.#metricsFacts(),
      events: this.#events,
      version: options.version,
      handlers: this.#handlers,
      counters: this.#counters,
    });
    this.#reloader = new Reloader({
      config: options.config,
      read: options.readConfig ?? null,
      target: this.#reloadTarget(),
      onReloading: options.onReloading ?? (() => undefined),
      onReloaded: options.onReloaded ?? (() => undefined),
      log: this.#log,
      logError: (line) => this.#logError(line),
    });
  }

  /** @throws SwapError with nothing left running */
  static async start(options: HostOptions): Promise<Host> {
    const host = new Host(options);
    try {
      await host.#addDisks();
      await host.#listen();
      await host.#openTmem();
      await host.#openControl();
      await host.#openMetrics();
      await host.#openDashboard();
      host.#writePidFile();
      host.#undo.push(host.#disks.startMaintenance());
    } catch (error) {
      await host.stop().catch(() => undefined); // the first error is the cause
      throw error;
    }
    host.#isReady = true;
    return host;
  }

  #logError(line: string): void {
    const { log, logError = log } = this.#options;
    logError(line);
    this.#events.emit('log', null, line);
  }

  get addresses(): readonly NbdAddress[] {
    return this.#addresses;
  }

  get controlPath(): string | null {
    return this.#controlPath;
  }

  get defaultExport(): string {
    return this.#disks.exports.defaultName;
  }

  /** The URIs of the default export, one per listener. */
  get uris(): readonly string[] {
    return this.#urisOf(this.defaultExport);
  }

  report(): ListDocument {
    return listDocument(this.#disks.figures().map((figures) => this.#reportOf(figures)));
  }

  #reportOf(figures: DiskFigures): DiskReport {
    return reportOf(figures, {
      tls: this.#options.config.tls?.mode ?? 'off',
      uris: this.#urisOf(this.#disks.exports.nameNow(figures.config.name)),
      hostPid: process.pid,
      hostControl: this.#controlPath ?? '',
    });
  }

  totals(): HostTotals {
    return totalsOf(this.#disks.figures());
  }

  /** Updates all figures; null: they are always current. False: a worker does not answer, and its figures are older. */
  refresh(): Promise<boolean> | null {
    return this.#disks.refresh();
  }

  /** Calls `of` with current figures. */
  #fresh<T>(of: () => T): T | Promise<T> {
    const refreshed = this.refresh();
    return refreshed === null ? of() : refreshed.then(of);
  }

  get reloader(): Reloader {
    return this.#reloader;
  }

  #reloadTarget(): ReloadTarget {
    const disks = this.#disks;
    return {
      isStopping: () => this.#stopping !== null,
      running: () => ({ disks: disks.configs, totalLimitBytes: disks.total.limitBytes }),
      add: (disk) => disks.add(disk, true),
      remove: (name) => disks.remove(name, false),
      set: (name, change) => disks.set(name, change, false),
      setTotal: (bytes) => setTotal(disks.total, bytes, this.#images),
      setDefaultLimit: (bytes) => {
        this.#defaultLimitBytes = bytes;
      },
      setDefaultExport: (name) => {
        disks.exports.defaultName = disks.figuresOf(name).config.name;
      },
      setSocketMode: (mode) => this.#setSocketMode(mode),
      setMetrics: (address) => this.#setMetrics(address),
      loadTls: (config) => this.#loadTls(config),
    };
  }

  /** Reads the files of TLS if they can be replaced. */
  #loadTls({ tls }: HostConfig): (() => void) | null {
    const { config, uid } = this.#options;
    const nbd = this.#nbd;
    if (tls === null || nbd === null || !canExchangeTls(config.tls, tls)) return null;
    const { credentials } = loadTls(tls, uid, this.#log);
    return () => nbd.reloadTls(credentials);
  }

  #setSocketMode(mode: number): void {
    const path = this.#options.config.unix;
    const at = this.#files.findIndex((file) => file.path === path);
    const file = this.#files[at];
    if (file !== undefined) this.#files[at] = changeMode(file, mode);
  }

  reset(name: string, force: boolean): Promise<number> {
    return this.#disks.reset(name, force);
  }

  /** The reply to `GET /v1/health`. */
  health(): object {
    return healthDocument(this.#healthFacts());
  }

  #healthFacts(): HealthFacts {
    return {
      version: this.#options.version,
      uptimeSeconds: Math.floor((Date.now() - this.#startedAt) / 1000),
      uris: this.uris,
      counters: this.#counters,
      disks: this.report().disks,
      nbd: this.#nbd === null ? null : this.#disks.nbdStats(this.#nbd.stats),
    };
  }

  /** What the metrics are computed from. */
  #metricsFacts(): MetricsFacts {
    const disks = this.#disks;
    return {
      ...this.#healthFacts(),
      isReady: this.#isReady && this.#stopping === null,
      total: disks.total,
      latencies: new Map(disks.figures().map(({ config, latencies }) => [config.name, latencies])),
      process: readProcess(),
      eventLoop: this.#eventLoop?.figures() ?? null,
      tmem: this.#tmem?.report() ?? null,
    };
  }

  #freshMetrics(): MetricsFacts | Promise<MetricsFacts> {
    return this.#fresh(() => this.#metricsFacts());
  }

  async #openMetrics(): Promise<void> {
    this.#undo.push(() => this.#metrics.close());
    await this.#setMetrics(this.#options.config.metrics);
  }

  async #setMetrics(address: MetricsAddress | null): Promise<void> {
    await this.#metrics.move(address);
    const isRead = address !== null || this.#controlPath !== null;
    const { dashboard } = this.#options.config;
    if ((!isRead && dashboard === null) || this.#eventLoop !== null) return;
    const watch = new EventLoopWatch();
    this.#eventLoop = watch;
    this.#undo.push(() => watch[Symbol.dispose]());
  }

  /** Stopped after the control socket: closing that socket ends its streams. */
  async #openDashboard(): Promise<void> {
    this.#undo.push(() => this.#dashboard.close());
    const { dashboard } = this.#options.config;
    if (dashboard !== null) await this.#dashboard.listen(dashboard);
  }

  get dashboard(): Pick<Dashboard, 'url' | 'urlWithToken'> {
    return this.#dashboard;
  }

  /** URL of the metrics; null: they are served on the control socket only. */
  get metricsUrl(): string | null {
    const { address } = this.#metrics;
    return address === null ? null : httpUrl(address, '/metrics');
  }

  /** The host's own counters and those of the NBD server, one per line. */
  describeCounters(): string {
    const { nbd } = this.#healthFacts();
    return this.#counters.describe() + (nbd === null ? '' : describeNbdFigures(nbd));
  }

  /** Stops accepting, completes requests in flight, removes sockets and files. Safe to call twice. */
  stop(): Promise<void> {
    this.#disks.beginStop();
    this.#stopping ??= this.#undoAll();
    return this.#stopping;
  }

  async #undoAll(): Promise<void> {
    let failure: unknown;
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        await undo();
      } catch (error) {
        failure ??= error; // undo the other steps anyway
      }
    }
    this.removeFiles();
    if (failure !== undefined) throw failure;
  }

  /** Removes the files that start() created. Synchronous, so that it can be called when the process exits. */
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

  #traceClient(line: string): void {
    this.#events.emit('client', null, line);
    this.#options.trace?.(line);
  }

  get #limitDefaults(): LimitDefaults {
    return { limitBytes: this.#defaultLimitBytes, memory: usableMemory() };
  }

  async #addDisks(): Promise<void> {
    this.#undo.push(() => this.#images?.[Symbol.dispose]());
    this.#undo.push(() => this.#disks.dispose());
    for (const disk of this.#options.config.disks) await this.#disks.add(disk, false);
    const served = this.#disks.configs.map(({ name }) => name);
    for (const disk of this.#images?.saved(served, this.#limitDefaults) ?? [])
      await this.#disks.add(disk, false);
    await this.#disks.refresh(); // workers without a disk have started, too
  }

  async #listen(): Promise<void> {
    const { config, parts } = this.#options;
    const tls = config.tls === null ? null : loadTls(config.tls, this.#options.uid, this.#log);
    const nbd = parts.createNbd({
      tls,
      exports: this.#disks.exports,
      visits: this.#disks.visits,
      limits: config,
      log: this.#log,
      trace: (line) => this.#traceClient(line),
    });
    this.#nbd = nbd;
    this.#disks.attach(nbd);
    this.#undo.push(() => nbd.close());
    for (const { fd, address } of this.#options.passedSockets ?? []) {
      await nbd.listenDescriptor(fd, address.kind);
      this.#addresses.push(
        address.kind === 'tcp'
          ? { ...address, host: connectable(address.host), ...this.#uriTls }
          : { ...address, ...this.#uriTls },
      );
    }
    if (config.unix !== null) await this.#listenUnix(nbd, config.unix);
    if (config.tcp !== null) await this.#listenTcp(nbd, config.tcp);
  }

  async #listenUnix(nbd: NbdFrontEnd, requested: string): Promise<void> {
    const path = requested === '-' ? join(this.#makePrivateFolder(), 'nbd.sock') : requested;
    await listenAt(unixSocketPath(path), () =>
      nbd.listenUnix(path, this.#options.config.socketMode),
    );
    this.#files.push(ownFile(path));
    this.#addresses.push({ kind: 'unix', path, ...this.#uriTls });
  }

  async #openTmem(): Promise<void> {
    const { config, parts } = this.#options;
    if (config.tmem === null) return;
    const { maxClients: clientsMax, tmem } = config;
    const { total } = this.#disks;
    const server = parts.createTmem({ config: tmem, clientsMax, total, log: this.#log });
    this.#undo.push(() => server.close());
    this.#files.push(await listenTmem(server, tmem));
    this.#tmem = server;
  }

  async #listenTcp(nbd: NbdFrontEnd, tcp: TcpConfig): Promise<void> {
    const { host } = tcp;
    const { port } = await firstPort(tcp, (at) => nbd.listenTcp(host, at));
    if (tcp.orNext && port !== tcp.port)
      this.#log(`port ${tcp.port} on ${host} is in use: serving on port ${port}`);
    this.#addresses.push({ kind: 'tcp', host: connectable(host), port, ...this.#uriTls });
  }

  /** Also with --tls=on: a client that can use TLS should use it. */
  get #uriTls(): { tls?: UriTls } {
    const { tls } = this.#options.config;
    return tls === null ? {} : { tls: { type: tls.source.kind } };
  }

  #openRuntimeFolder(): string {
    const { runtimeFolder, uid, trace } = this.#options;
    return openRuntimeFolder(runtimeFolder, uid, trace);
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
    const control = await listenAt(place, () =>
      ControlServer.listen(path, this.#handlers, this.#counters, undefined, (...asked) =>
        this.#dashboard.answerControl(...asked),
      ),
    );
    this.#controlPath = path;
    this.#files.push(ownFile(path));
    this.#undo.push(() => control.close());
  }

  #createHandlers(): ControlHandlers {
    return {
      disks: () => this.#fresh(() => this.report()),
      disk: (name) => this.#fresh(() => this.#reportOf(this.#disks.figuresOf(name))),
      health: () => this.#fresh(() => this.health()),
      events: this.#events,
      metrics: metricsRoutes(() => this.#freshMetrics()),
      add: (text) => this.#add(text),
      remove: (name, force) => this.#disks.remove(name, force),
      set: (name, change, force) => this.#disks.set(name, change, force),
      freeze: (name) => this.#disks.freeze(name),
      thaw: (name) => this.#disks.thaw(name),
      flush: (name) => this.#disks.flush(name),
      reset: (name, force) => this.reset(name, force),
      tmem: () => this.#tmem,
      reload: () => this.#reloader.reload(),
      checkStop: (force) => this.#fresh(() => this.#options.checkStop(force)),
      stop: () => this.#options.onStopRequest(),
    };
  }

  /** Uses the same defaults as for the disks of the start. */
  #add(text: DiskText): void | Promise<void> {
    return this.#disks.add(resolveDisk('the request', text, this.#limitDefaults), true);
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
      this.#log(`the control socket ${controlPathIn(folder)} is in use: listening on ${path}`);
    return controlSocketPath(path, true);
  }

  #writePidFile(): void {
    const path = this.#options.config.pidFile;
    if (path !== null) this.#pidFiles.push(PidFile.write(path));
  }
}
