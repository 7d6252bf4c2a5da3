/**
 * `frontswap host`: serves RAM swap disks until it is stopped.
 *
 *   event                                    effect                                                     exit status
 *   SIGINT, SIGTERM, SIGQUIT, POST /v1/stop  clean stop; the first is refused while clients have pages  0
 *   a second signal, during the stop         immediate exit                                             128 + n
 *   npx, which started the host, ends        clean stop, once no client has pages                       0
 *   SIGHUP, POST /v1/reload                  reads the configuration and TLS files again                -
 *   SIGUSR2                                  a log line                                                 -
 *   the command of --run ends                clean stop                                                 the command's
 *   an engine worker ends, its pages lost    clean stop                                                 1
 *
 * With --run, the signals and requests of the first row end the command, and the host stops when the command ends.
 */
import { SwapError } from '../base/errors.ts';
import type { HostConfig } from '../host/config/host-config.ts';
import { hostSettings } from '../host/config/host-schema.ts';
import { readHostConfig } from '../host/config/sources.ts';
import { Host } from '../host/host.ts';
import { limitWarnings } from '../host/limits.ts';
import type { Log } from '../host/parts.ts';
import { RunCommand, statusOfSignal } from '../host/run-command.ts';
import { ServiceNotifier } from '../host/service-notifier.ts';
import {
  type PassedSocket,
  passedSockets,
  passedSocketWarnings,
  serviceVariables,
} from '../host/service-variables.ts';
import { formatUri, isLoopback } from '../host/uri.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import { chooseColumns } from './columns.ts';
import { type Arguments, type Command, Exit, flag, text } from './command.ts';
import { isUnderNpm, watchNpx } from './npm.ts';
import { stopSignals } from './signals.ts';
import { type DiskUse, formatDiskUses, formatStatus, StatusLine } from './status-line.ts';
import { formatTable } from './table.ts';
import { packageVersion } from './version.ts';
import type { World } from './world.ts';

/** Interval of the status line, ms. */
const STATUS_MS = 1000;
/** A second request within this time overrides a refused stop, ms. */
const REFUSAL_MS = 60_000;
/** npm forwards a Ctrl-C that the terminal also sends: two SIGINTs within this time are one, ms. */
const ECHO_MS = 500;

function afterRefresh(refreshed: Promise<unknown> | null, run: () => void): void {
  if (refreshed === null) run();
  else void refreshed.then(run);
}

/**
 * Waits for a request to stop. While clients have pages on the host, the first request is refused; a second one within a minute
 * is accepted. A signal during the stop ends the process immediately.
 */
class StopRequest {
  /** Resolves when a stop is requested and allowed. */
  readonly requested: Promise<void>;
  /** Returns the disks with pages that clients would lose. Set once the host runs. */
  inUse: () => readonly DiskUse[] = () => [];
  /** Updates what `inUse` returns; null: it is always up to date. */
  refresh: () => Promise<unknown> | null = () => null;
  /** Receives the reason why a signal was refused. */
  onRefusal: (why: string) => void = () => undefined;
  #resolve: () => void = () => undefined;
  #isRequested = false;
  #refusedAtMs = -Infinity;
  #interruptedAtMs = -Infinity;
  readonly #hasEcho: boolean;
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (signal === 'SIGINT' && this.#isEcho()) return;
    if (this.#isRequested) process.exit(statusOfSignal(signal));
    afterRefresh(this.refresh(), () => this.#obey(signal));
  };

  #obey(signal: NodeJS.Signals): void {
    try {
      this.check(false);
      this.request();
    } catch (error) {
      this.onRefusal(`${signal}: ${(error as Error).message}`);
    }
  }

  /** @param hasEcho npm started this process, and may forward a Ctrl-C */
  constructor(hasEcho: boolean) {
    this.#hasEcho = hasEcho;
    this.requested = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    for (const signal of stopSignals) process.on(signal, this.#onSignal);
  }

  /** @throws SwapError ERR_IO_IN_USE */
  readonly check = (force: boolean): void => {
    const now = performance.now();
    if (force || this.#isRequested || now - this.#refusedAtMs < REFUSAL_MS) return;
    const disks = this.inUse();
    if (disks.length === 0) return;
    this.#refusedAtMs = now;
    throw new SwapError(
      'ERR_IO_IN_USE',
      `not stopped: clients would lose their pages on ${formatDiskUses(disks)}; run swapoff in the guests first, or request the stop again within a minute, or use 'frontswap stop --force'`,
    );
  };

  #isEcho(): boolean {
    const lastMs = this.#interruptedAtMs;
    this.#interruptedAtMs = performance.now();
    return this.#hasEcho && this.#interruptedAtMs - lastMs < ECHO_MS;
  }

  readonly request = (): void => {
    this.#isRequested = true;
    this.#resolve();
  };
}

/** Environment variables for the command of --run, with the names of nbdkit. */
function runVariables(host: Host): Record<string, string> {
  const unix = host.addresses.find((address) => address.kind === 'unix');
  const tcp = host.addresses.find((address) => address.kind === 'tcp');
  const nbd = unix === undefined ? `nbd:${tcp?.host}:${tcp?.port}` : `nbd:unix:${unix.path}`;
  return {
    uri: host.uris[0] ?? '',
    nbd,
    port: tcp === undefined ? '' : String(tcp.port),
    unixsocket: unix?.path ?? '',
    exportname: host.defaultExport,
    FRONTSWAP_CONTROL: host.controlPath ?? '',
  };
}

/** Runs the command until it ends. A request to stop terminates it. */
async function runBeside(command: string, host: Host, stop: StopRequest): Promise<number> {
  const child = new RunCommand(command, runVariables(host));
  void stop.requested.then(() => child.terminate());
  return child.ended;
}

function printReady(host: Host, args: Arguments, config: HostConfig, world: World): void {
  if (flag(args, 'json')) {
    const { uris, controlPath: control, metricsUrl: metrics } = host;
    const dashboard = host.dashboard.url; // without the token: stdout may be a log
    world.stdout.write(
      `${JSON.stringify({ schemaVersion: 1, pid: process.pid, uris, control, metrics, dashboard })}\n`,
    );
  } else if (!flag(args, 'quiet') && config.run === null) {
    for (const address of host.addresses)
      world.stdout.write(`${formatUri(address, host.defaultExport)}\n`);
  }
}

/** Whether the host knows who a client is before it shows the client a disk. */
function isProtected({ disks, tls }: HostConfig): boolean {
  if (disks.every(({ access }) => access !== undefined)) return true;
  return tls?.mode === 'require' && (tls.source.kind === 'psk' || tls.source.verifyPeer);
}

/** Warns about listeners that others can reach: swapped-out pages may contain keys. */
function warnOfExposure(config: HostConfig, line: StatusLine): void {
  const { tcp, unix, socketMode, tls } = config;
  if (isProtected(config)) return;
  if ((socketMode & 0o007) !== 0)
    line.print(
      `frontswap host: warning: every user of this machine who can reach ${unix} can read what guests ` +
        'swapped out; --socket-mode 0660 limits access to a group',
    );
  if (tcp === null || isLoopback(tcp.host)) return;
  line.print(
    `frontswap host: warning: anyone who can reach ${tcp.host} port ${tcp.port} can read ` +
      `what guests swapped out; ${unprotected(tls)}`,
  );
}

function unprotected(tls: HostConfig['tls']): string {
  if (tls === null) return 'there is no password and no encryption';
  if (tls.mode === 'on') return 'with --tls=on a client may connect without TLS; use --tls=require';
  return 'connections are encrypted, but clients are not verified; use --tls-verify-peer';
}

/** Prints the URL with its token only on a terminal: the stderr of a service is a log that others may read. */
function dashboardLine({ dashboard, controlPath }: Host, world: World): string {
  if (world.stderr.isTerminal) return `dashboard at ${dashboard.urlWithToken}`;
  const how =
    controlPath === null
      ? 'read-only, because the host has no control socket'
      : "'frontswap dashboard' prints its URL with the token for changes";
  return `dashboard at ${dashboard.url} (${how})`;
}

/** Updates the status line; returns a function that stops it. */
function startStatus(host: Host, line: StatusLine): () => void {
  let lastAt = performance.now();
  let lastRequests = host.totals().requests;
  const refresh = (): void => {
    const totals = host.totals();
    const now = performance.now();
    const perSecond = ((totals.requests - lastRequests) * 1000) / Math.max(1, now - lastAt);
    lastAt = now;
    lastRequests = totals.requests;
    line.show(formatStatus(totals, perSecond));
  };
  refresh();
  const timer = setInterval(refresh, STATUS_MS);
  return () => {
    clearInterval(timer);
    line.erase();
  };
}

/** The output of SIGUSR1: the table of `list`, and the counters of the host and of the NBD server. */
function formatStatistics(host: Host): string {
  const columns = chooseColumns(null);
  const rows = host.report().disks.map((disk) => columns.map(({ cell }) => cell(disk, false)));
  const table = formatTable(columns, rows, { raw: false, headings: true });
  return `${table}${host.describeCounters()}`.trimEnd();
}

/** The status line of `systemctl status`: it stays true while disks are added and removed. */
function serviceStatus({ addresses }: Host): string {
  const places = addresses.map((address) =>
    address.kind === 'unix' ? address.path : `${address.host} port ${address.port}`,
  );
  return `serving NBD on ${places.join(', ')}`;
}

/** Disks with pages, which are lost when the host stops. */
const disksInUse = (host: Host): readonly DiskUse[] =>
  host.report().disks.filter(({ dataBytes }) => dataBytes > 0);

/** Returns a function to call repeatedly after npx has ended: it stops the host as soon as no client would lose pages. */
function stopWithNpx(stop: StopRequest, log: (text: string) => void): () => void {
  let isLogged = false;
  return () => {
    const disks = stop.inUse();
    if (disks.length === 0) return stop.request();
    if (!isLogged)
      log(
        `npx has ended, but clients use ${formatDiskUses(disks)}: the host stops when they disconnect, or by 'frontswap stop --force'`,
      );
    isLogged = true;
  };
}

interface Service {
  readonly config: HostConfig;
  /** Reads the files of `config` for a reload; null: there are none. */
  readonly readConfig: (() => HostConfig) | null;
  readonly sockets: readonly PassedSocket[];
  readonly line: StatusLine;
  readonly log: Log;
}

async function serve(service: Service, args: Arguments, world: World): Promise<number> {
  const { config, readConfig, sockets, line, log } = service;
  const stop = new StopRequest(isUnderNpm(world.env));
  const quiet = flag(args, 'quiet');
  let isLost = false;
  const notifier = new ServiceNotifier(world.env, process.pid, log, () => host.refresh());
  for (const name of serviceVariables) delete process.env[name]; // not for the command of --run
  const host = await Host.start({
    config,
    parts: await world.loadParts(),
    passedSockets: sockets,
    runtimeFolder: world.runtimeFolder,
    uid: world.uid,
    version: packageVersion(),
    log,
    trace: flag(args, 'verbose') ? log : null,
    checkStop: stop.check,
    onStopRequest: stop.request,
    readConfig,
    onLost: () => {
      isLost = true;
      stop.request();
    },
    onReloading: (isReloading) =>
      isReloading ? notifier.reloading() : notifier.ready(serviceStatus(host)),
    onReloaded: (now) => {
      for (const warning of limitWarnings(now, usableMemory())) log(`warning: ${warning}`);
      if (!quiet && now.socketMode !== config.socketMode) warnOfExposure(now, line);
    },
    logError: (text) => line.print(`frontswap host: ${text}`),
  });
  // With --run the disks belong to the command, which a stop ends.
  if (config.run === null && config.persist === null)
    stop.inUse = () => disksInUse(host).filter(({ connections }) => connections > 0);
  stop.refresh = () => host.refresh();
  stop.onRefusal = (why) => line.print(`frontswap host: ${why}`);
  process.once('exit', () => host.removeFiles()); // also after a second signal or a crash
  process.on('SIGUSR2', () => log('SIGUSR2: ignored'));
  process.on('SIGHUP', () => {
    if (!host.reloader.hasFiles)
      return log('SIGHUP: ignored: the host was started without a configuration file');
    host.reloader.reload().catch((error: unknown) => {
      if (!(error instanceof SwapError)) throw error; // the reloader has logged the others
    });
  });
  process.on('SIGUSR1', () =>
    afterRefresh(host.refresh(), () => line.print(formatStatistics(host))),
  );
  if (!quiet) warnOfExposure(config, line);
  if (!isProtected(config))
    for (const warning of passedSocketWarnings(sockets, unprotected(config.tls)))
      log(`warning: ${warning}`);
  for (const warning of limitWarnings(config, usableMemory())) log(`warning: ${warning}`);
  printReady(host, args, config, world);
  if (host.metricsUrl !== null && !quiet) log(`metrics at ${host.metricsUrl}`);
  if (host.dashboard.url !== null) log(dashboardLine(host, world));
  notifier.ready(serviceStatus(host));
  const endWatch = watchNpx(world.env, stopWithNpx(stop, log));
  const isLive =
    world.stderr.isTerminal && world.env['TERM'] !== 'dumb' && !quiet && config.run === null; // with --run the terminal belongs to the command
  const endStatus = isLive ? startStatus(host, line) : () => undefined;
  try {
    if (config.run !== null) {
      const status = await runBeside(config.run, host, stop);
      return isLost ? Exit.failed : status;
    }
    await stop.requested;
    const disks = disksInUse(host);
    if (config.persist !== null) log(`stopped; the pages stay in ${config.persist}`);
    else if (disks.length > 0) log(`stopped; these pages are lost: ${formatDiskUses(disks)}`);
    return isLost ? Exit.failed : Exit.ok;
  } finally {
    endWatch();
    endStatus();
    notifier.stopping('answering requests in flight');
    await host.stop().finally(() => notifier.close());
  }
}

export const hostCommand: Command = {
  name: 'host',
  group: 'disk',
  summary: 'serve RAM swap disks over NBD until stopped',
  usage: 'host [OPTIONS]',
  examples: [
    {
      line: 'frontswap host',
      what: 'one 1G disk, swap0, on a private Unix socket and on 127.0.0.1:10809',
    },
    {
      line: 'frontswap host -U /run/swap.sock --disk vm1=4G,limit=1G --disk vm2=2G',
      what: 'two disks; vm1 uses at most 1G of memory, metadata included',
    },
    {
      line: `frontswap host --run 'nbdinfo "$uri"'`,
      what: 'run a host for the lifetime of one command',
    },
    { line: 'frontswap host -C host.toml --check', what: 'check a configuration file' },
  ],
  options: [
    ...hostSettings,
    {
      name: 'config',
      short: 'C',
      value: 'FILE',
      help: 'TOML file with these options as keys, and a table [disks.NAME] for each disk; FILE.d/*.toml override it, and flags override both',
    },
    {
      name: 'check',
      help: 'check the options and files, and whether files, sockets and addresses are available now; start nothing. With --json: print the resulting configuration',
    },
  ],
  positionals: 'none',
  positionalsMax: 0,
  notes: [
    'Sizes: K, M, G, T, P and KiB ... are powers of 1024, KB ... powers of 1000; 1.5G is allowed. A limit may also be a share of the memory of the machine, or of the control group of the host: 50%.',
    'Without --unix, --port and --ipaddr the host listens on a private Unix socket, and on 127.0.0.1 at port 10809 or the next free port; with --run, on the Unix socket only. When the host is ready, it prints the URI of each listener on stdout.',
    'systemd: sockets of a .socket unit (LISTEN_FDS) replace the listeners, and cannot be combined with --unix, --port and --ipaddr. With Type=notify the host reports when it is ready and when it stops, and feeds the watchdog (NOTIFY_SOCKET, WATCHDOG_USEC); with Type=notify-reload it also reports reloads.',
    'Control socket: $XDG_RUNTIME_DIR/frontswap/control.sock, /run/frontswap/control.sock for root, control-2.sock for a second host, and so on; control.pid beside it contains the process id. With --run the socket is private, and $FRONTSWAP_CONTROL in the environment of the command has its path.',
    '--run: the environment of the command contains $uri, $nbd, $port, $unixsocket and $exportname, and frontswap is in its $PATH.',
    'Signals: INT, TERM and QUIT stop the host cleanly. While clients have pages on the host, the first signal is refused, and a second one within a minute is accepted; a signal during the stop ends the host immediately. USR1 prints statistics to stderr. HUP reads the files of -C and of TLS again, as frontswap reload does. Without such files HUP is ignored, and USR2 always is: a closed terminal or a log rotation must not stop a disk.',
    "Exit status: 0 stopped, 1 failed, 2 wrong usage, 128+n ended by signal n; with --run the command's.",
  ],
  async run(args, world) {
    const line = new StatusLine(world.stderr);
    const log: Log = (text) => {
      if (!flag(args, 'quiet')) line.print(`frontswap host: ${text}`);
    };
    const sockets = passedSockets(world.env, process.pid, log);
    const file = text(args, 'config');
    const read = (): HostConfig =>
      readHostConfig(
        { file, flags: args.options },
        { memory: usableMemory(), hasPassedSockets: sockets.length > 0 },
      );
    const config = read();
    if (!flag(args, 'check')) {
      const readConfig = file === null ? null : read;
      return serve({ config, readConfig, sockets, line, log }, args, world);
    }
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, config }, null, 2)}\n`);
    const { checkConfig } = await import('../host/check-config.ts'); // not needed for a start
    const { runtimeFolder, uid } = world;
    await checkConfig({ config, runtimeFolder, uid });
    if (!flag(args, 'quiet'))
      for (const warning of limitWarnings(config, usableMemory()))
        world.stderr.write(`frontswap host: warning: ${warning}\n`);
    if (!flag(args, 'quiet')) world.stderr.write('frontswap host: the configuration is usable\n');
    return Exit.ok;
  },
};
