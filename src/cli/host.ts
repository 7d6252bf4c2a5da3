/**
 * `frontswap host`: serves RAM swap disks until it is stopped.
 *
 * What ends it, and the exit status:
 *   SIGINT, SIGTERM, SIGQUIT, POST /v1/stop   clean stop, 0; the first is refused while clients have pages here
 *   one more signal after that       at once, 128 + n
 *   the end of npx, which started it  clean stop, 0, once no client has pages here
 *   SIGHUP, SIGUSR2                  nothing: a line in the log
 *   the end of --run's command       clean stop, the command's status; a stop from outside ends the command
 */
import { readFileSync } from 'node:fs';
import { SwapError } from '../base/errors.ts';
import {
  type HostConfig,
  hostSettings,
  resolveHostConfig,
  type Setting,
  type Settings,
  settingsOfJson,
} from '../host/config.ts';
import { Host } from '../host/host.ts';
import { limitWarnings } from '../host/limits.ts';
import { RunCommand, statusOfSignal } from '../host/run-command.ts';
import { formatUri, isLoopback } from '../host/uri.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import { systemError } from '../os/system-error.ts';
import { chooseColumns } from './columns.ts';
import { type Arguments, type Command, Exit, flag, text } from './command.ts';
import { isUnderNpm, watchNpx } from './npm.ts';
import { stopSignals } from './signals.ts';
import { formatHoldings, formatStatus, type Holding, StatusLine } from './status-line.ts';
import { formatTable } from './table.ts';
import { packageVersion } from './version.ts';
import type { World } from './world.ts';

const statusEveryMs = 1000;
/** How long a refused stop is remembered: the next one is meant. */
const refusalMs = 60_000;
/** npm forwards Ctrl-C to a program that has it from the terminal: one keystroke, two signals. */
const echoMs = 500;

function readConfigFile(path: string): Settings {
  try {
    return settingsOfJson(path, readFileSync(path, 'utf8'));
  } catch (cause) {
    if (cause instanceof Error && 'errno' in cause)
      throw systemError(`read ${path}`, cause, 'see --config');
    throw cause;
  }
}

/** The file's settings, with the flags over them. */
function collectSettings(args: Arguments): Settings {
  const flags = new Map<string, Setting>();
  for (const { name } of hostSettings) {
    const value = args.options.get(name);
    if (value !== undefined) flags.set(name, { value, from: `--${name}` });
  }
  const file = text(args, 'config');
  return file === null ? flags : new Map([...readConfigFile(file), ...flags]);
}

/**
 * Waits for the first reason to stop. While clients have pages here the first request is refused, and one more within a
 * minute is obeyed; once the stop has begun, a signal does not wait for it.
 */
class StopRequest {
  /** Resolves when a stop was requested and is allowed. */
  readonly asked: Promise<void>;
  /** Disks in use that a stop would lose. Set once there is a host. */
  inUse: () => readonly Holding[] = () => [];
  /** Called with the reason why a signal was refused. */
  onRefusal: (why: string) => void = () => undefined;
  #resolve: () => void = () => undefined;
  #isAsked = false;
  #refusedAtMs = -Infinity;
  #interruptedAtMs = -Infinity;
  readonly #hasEcho: boolean;
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (signal === 'SIGINT' && this.#isEcho()) return;
    if (this.#isAsked) process.exit(statusOfSignal(signal));
    try {
      this.check(false);
      this.ask();
    } catch (error) {
      this.onRefusal(`${signal}: ${(error as Error).message}`);
    }
  };

  /** @param hasEcho npm started this process */
  constructor(hasEcho: boolean) {
    this.#hasEcho = hasEcho;
    this.asked = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    for (const signal of stopSignals) process.on(signal, this.#onSignal);
  }

  /** @throws SwapError ERR_IO_IN_USE */
  readonly check = (force: boolean): void => {
    const now = performance.now();
    if (force || this.#isAsked || now - this.#refusedAtMs < refusalMs) return;
    const held = this.inUse();
    if (held.length === 0) return;
    this.#refusedAtMs = now;
    throw new SwapError(
      'ERR_IO_IN_USE',
      `not stopped: clients would lose ${formatHoldings(held)}; have the guests swapoff first, or ask again within a minute, or use 'frontswap stop --force'`,
    );
  };

  #isEcho(): boolean {
    const lastMs = this.#interruptedAtMs;
    this.#interruptedAtMs = performance.now();
    return this.#hasEcho && this.#interruptedAtMs - lastMs < echoMs;
  }

  readonly ask = (): void => {
    this.#isAsked = true;
    this.#resolve();
  };
}

/** What the command of --run finds in its environment, named as nbdkit names it. */
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

/** Runs the command beside the host until it ends, or until a stop is asked for and it obeys. */
async function runBeside(command: string, host: Host, stop: StopRequest): Promise<number> {
  const child = new RunCommand(command, runVariables(host));
  void stop.asked.then(() => child.terminate());
  return child.ended;
}

function sayReady(host: Host, args: Arguments, config: HostConfig, world: World): void {
  if (flag(args, 'json')) {
    const { uris, controlPath: control } = host;
    world.stdout.write(
      `${JSON.stringify({ schemaVersion: 1, pid: process.pid, uris, control })}\n`,
    );
  } else if (!flag(args, 'quiet') && config.run === null) {
    for (const address of host.addresses)
      world.stdout.write(`${formatUri(address, host.defaultExport)}\n`);
  }
}

/** Swapped-out memory holds everything, keys included; NBD here has neither password nor encryption. */
function warnOfOpenDoors({ tcp, unix, socketMode }: HostConfig, line: StatusLine): void {
  if ((socketMode & 0o007) !== 0)
    line.print(
      `frontswap host: warning: everybody on this machine who reaches ${unix} can read what guests ` +
        'swapped out; --socket-mode 0660 keeps it to a group',
    );
  if (tcp === null || isLoopback(tcp.host)) return;
  line.print(
    `frontswap host: warning: anyone who can reach ${tcp.host} port ${tcp.port} can read ` +
      'what guests swapped out; there is no password and no encryption',
  );
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
  const timer = setInterval(refresh, statusEveryMs);
  return () => {
    clearInterval(timer);
    line.erase();
  };
}

/** SIGUSR1: the table of `list`, the counters of the host and of the NBD server. */
function formatStatistics(host: Host): string {
  const columns = chooseColumns(null);
  const rows = host.report().disks.map((disk) => columns.map(({ cell }) => cell(disk, false)));
  const table = formatTable(columns, rows, { raw: false, headings: true });
  return `${table}${host.describeCounters()}`.trimEnd();
}

/** Clients of a socket that systemd has opened would get no answer. */
function refuseHandedSockets(env: World['env']): void {
  if (env['LISTEN_FDS'] === undefined || env['LISTEN_PID'] !== String(process.pid)) return;
  throw new SwapError(
    'ERR_IO_UNSUPPORTED',
    'LISTEN_FDS is set: sockets of systemd (a .socket unit) are not served; remove that unit, and give --unix or --port to the service',
    { variable: 'LISTEN_FDS' },
  );
}

/** Disks that a stop would take pages from. */
const holdingsOf = (host: Host): readonly Holding[] =>
  host.report().disks.filter(({ dataBytes }) => dataBytes > 0);

/** npx is gone: the host stops as soon as it takes no pages from clients with it. */
function stopWithNpx(stop: StopRequest, log: (text: string) => void): () => void {
  let isTold = false;
  return () => {
    const held = stop.inUse();
    if (held.length === 0) return stop.ask();
    if (!isTold)
      log(
        `npx has ended, but clients have ${formatHoldings(held)}: this host stops when they have gone, or by 'frontswap stop --force'`,
      );
    isTold = true;
  };
}

async function serve(config: HostConfig, args: Arguments, world: World): Promise<number> {
  refuseHandedSockets(world.env);
  const stop = new StopRequest(isUnderNpm(world.env));
  const line = new StatusLine(world.stderr);
  const quiet = flag(args, 'quiet');
  const log = (text: string): void => {
    if (!quiet) line.print(`frontswap host: ${text}`);
  };
  const host = await Host.start({
    config,
    parts: await world.loadParts(),
    runtimeFolder: world.runtimeFolder,
    uid: world.uid,
    version: packageVersion(),
    log,
    trace: flag(args, 'verbose') ? log : null,
    checkStop: stop.check,
    onStopRequest: stop.ask,
  });
  // With --run a stop ends the command, whose the disks are.
  if (config.run === null)
    stop.inUse = () => holdingsOf(host).filter(({ connections }) => connections > 0);
  stop.onRefusal = (why) => line.print(`frontswap host: ${why}`);
  process.once('exit', () => host.removeFiles()); // also when a second signal or a fault ends us
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const)
    process.on(signal, () => log(`${signal}: nothing to do, the disks stay`));
  process.on('SIGUSR1', () => line.print(formatStatistics(host)));
  if (!quiet) warnOfOpenDoors(config, line);
  for (const warning of limitWarnings(config, usableMemory())) log(`warning: ${warning}`);
  sayReady(host, args, config, world);
  const endWatch = watchNpx(world.env, stopWithNpx(stop, log));
  const isLive =
    world.stderr.isTerminal && world.env['TERM'] !== 'dumb' && !quiet && config.run === null; // the terminal is the command's
  const endStatus = isLive ? startStatus(host, line) : () => undefined;
  try {
    if (config.run !== null) return await runBeside(config.run, host, stop);
    await stop.asked;
    const held = holdingsOf(host);
    if (held.length > 0) log(`stopped; these pages are lost: ${formatHoldings(held)}`);
    return Exit.ok;
  } finally {
    endWatch();
    endStatus();
    await host.stop();
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
      what: 'two disks; vm1 may take 1G of memory at most, metadata included',
    },
    {
      line: `frontswap host --run 'nbdinfo "$uri"'`,
      what: 'serve one command on a private socket, and end with it',
    },
    { line: 'frontswap host -C host.json --check-config', what: 'check a configuration file' },
  ],
  options: [
    ...hostSettings,
    {
      name: 'config',
      short: 'C',
      value: 'FILE',
      help: 'JSON file with these options as keys: {"disk": ["vm1=4G"], "port": 10809}; flags win',
    },
    {
      name: 'check-config',
      help: 'check the options and the file, and whether files, sockets and addresses can be had now; start nothing',
    },
  ],
  positionals: 'none',
  positionalsMax: 0,
  notes: [
    'Sizes: K, M, G, T, P and KiB ... are powers of 1024, KB ... powers of 1000; 1.5G is allowed. Limits may also be a share of the memory of the machine, or of the control group that the host runs in: 50%.',
    'Without --unix, --port and --ipaddr: a private Unix socket, and 127.0.0.1 port 10809, or the next port that is free; with --run the Unix socket only. Each listener is announced on stdout by its URI when it is ready.',
    'Control socket: $XDG_RUNTIME_DIR/frontswap/control.sock, /run/frontswap/control.sock for root, control-2.sock for a second host, and so on; beside it the process id in control.pid. With --run a private one, in $FRONTSWAP_CONTROL of the command.',
    '--run: the command finds $uri, $nbd, $port, $unixsocket and $exportname in its environment, and frontswap in its $PATH.',
    'Signals: INT, TERM and QUIT stop cleanly. While clients have pages here the first one is refused, and one more within a minute is obeyed; a signal during the stop ends the host at once. USR1 prints statistics to stderr; HUP and USR2 do nothing, so that a closed terminal or a log rotation ends no disk.',
    "Exit status: 0 stopped, 1 failed, 2 wrong usage, 128+n ended by signal n; with --run the command's.",
  ],
  async run(args, world) {
    const config = resolveHostConfig(collectSettings(args));
    if (!flag(args, 'check-config')) return serve(config, args, world);
    const { checkConfig: checkPlaces } = await import('../host/check-config.ts'); // starts without it
    const { runtimeFolder, uid } = world;
    await checkPlaces({ config, runtimeFolder, uid });
    if (!flag(args, 'quiet'))
      for (const warning of limitWarnings(config, usableMemory()))
        world.stderr.write(`frontswap host: warning: ${warning}\n`);
    if (!flag(args, 'quiet')) world.stderr.write('frontswap host: the configuration is usable\n');
    return Exit.ok;
  },
};
