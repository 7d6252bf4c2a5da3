/**
 * Turns the merged settings of all sources into the configuration of a host: fills in defaults, and checks rules about several
 * settings.
 */
import { resolve } from 'node:path';
import { SwapError } from '../../base/errors.ts';
import { suggestion } from '../../base/nearest.ts';
import { printable } from '../../base/printable.ts';
import { type UsableMemory, usableMemory } from '../../os/linux/usable-memory.ts';
import type { ClientLimits } from '../client-limits.ts';
import { noUnixSocket } from '../disk-access.ts';
import { DISKS_MAX, type DiskConfig } from '../disk-config.ts';
import { defaultTotal, underTotal } from '../limits.ts';
import type { MetricsAddress } from '../metrics-server.ts';
import { readTls, type TlsConfig } from '../tls-config.ts';
import { type TmemConfig, tmemConfig } from '../tmem-config.ts';
import { checkDisk } from './disk-schema.ts';
import { checkHostValues, type HostValues } from './host-schema.ts';
import type { Layer, Settings } from './layers.ts';
import { Problems } from './problems.ts';

export interface TcpConfig {
  readonly host: string;
  readonly port: number;
  /** True: the port is the default; if it is in use, use the next free one. */
  readonly orNext: boolean;
}

export interface HostConfig extends ClientLimits {
  /** At least one; the default export is the first. */
  readonly disks: readonly DiskConfig[];
  /** True: no source describes a disk, so there is one of 1 GiB. */
  readonly hasDefaultDisk: boolean;
  /** The setting exportname; null: not set. */
  readonly defaultExport: string | null;
  /** Limit of each disk without its own, bytes; 0 = none. */
  readonly defaultLimitBytes: number;
  /** Limit of all disks together, bytes; 0 = none. */
  readonly totalLimitBytes: number;
  readonly codec: string;
  /** Threads that serve the disks; 1: the main thread. */
  readonly workers: number;
  /** Path; '-': a private socket; null: none. Without passed sockets, at least one of unix and tcp is set. */
  readonly unix: string | null;
  /** Permission bits of the Unix socket. */
  readonly socketMode: number;
  readonly tcp: TcpConfig | null;
  /** Null: no TLS. */
  readonly tls: TlsConfig | null;
  /** Path; `default`: in the runtime folder; `private`: in the private folder; null: none. */
  readonly control: { readonly path: string } | 'default' | 'private' | null;
  /** Address of the metrics server; null: none. */
  readonly metrics: MetricsAddress | null;
  /** Loopback address of the dashboard; null: on the control socket only. */
  readonly dashboard: MetricsAddress | null;
  /** Null: no tmem socket. */
  readonly tmem: TmemConfig | null;
  readonly pidFile: string | null;
  /** Absolute path of the folder with the images of the disks; null: pages end with the host. */
  readonly persist: string | null;
  readonly run: string | null;
}

export interface ResolveOptions {
  /** The memory that percentages and the default total are shares of. */
  readonly memory?: UsableMemory;
  /** True: the service manager opened the listeners, and there are no others. */
  readonly hasPassedSockets?: boolean;
}

const fault = (
  code: 'ERR_ARG_VALUE' | 'ERR_ARG_CONFLICT' | 'ERR_ARG_UNKNOWN',
  from: string,
  why: string,
): SwapError => new SwapError(code, `${from}${why}`, { key: from });

/**
 * Makes the path absolute, so that clients in other working directories can use it. Refuses `@name`: in other programs it is an
 * abstract socket, and here it would be a file of that name.
 */
function absolutePath(from: string, path: string): string {
  if (path.startsWith('@'))
    throw fault(
      'ERR_ARG_VALUE',
      from,
      `: '${printable(path)}' is an abstract socket, which NBD URIs cannot name: use a path, or ./${printable(path)} for a file of that name`,
    );
  return resolve(path);
}

class Resolver {
  readonly #settings: Settings;
  readonly #layer: Layer;
  readonly #values: HostValues;
  readonly #problems: Problems;
  readonly #memory: UsableMemory;
  readonly #hasPassedSockets: boolean;

  constructor(layer: Layer, options: ResolveOptions, problems: Problems) {
    this.#memory = options.memory ?? usableMemory();
    this.#hasPassedSockets = options.hasPassedSockets ?? false;
    this.#layer = layer;
    this.#settings = layer.settings;
    this.#values = checkHostValues(layer.settings, this.#memory, problems);
    this.#problems = problems;
  }

  #from(name: string): string {
    return this.#settings.get(name)?.from ?? `--${name}`;
  }

  #has(name: string): boolean {
    return this.#settings.has(name);
  }

  #refuse(code: Parameters<typeof fault>[0], name: string, why: string): void {
    this.#problems.add(() => fault(code, this.#from(name), why));
  }

  #path(name: 'unix' | 'control' | 'tmem'): string | null {
    const path = this.#values[name];
    if (path === undefined) return null;
    return this.#problems.attempt(() => absolutePath(this.#from(name), path));
  }

  /** The disks as they are described; `swap0=1G` if none is. */
  #disks(): DiskConfig[] {
    const { disks: described } = this.#layer;
    const first = [...described.values()][0];
    if (described.size > DISKS_MAX) {
      const why = `: '${described.size}' is too many disks: at most ${DISKS_MAX}`;
      this.#problems.add(() => fault('ERR_ARG_VALUE', first?.from ?? '', why));
      return [];
    }
    const layers: Layer['disks'] =
      first !== undefined
        ? described
        : new Map([
            [
              'swap0',
              { from: '--disk', settings: new Map([['size', { value: '1G', from: '--disk' }]]) },
            ],
          ]);
    const defaults = { limitBytes: this.#values.limit ?? 0, memory: this.#memory };
    const disks: DiskConfig[] = [];
    for (const [name, layer] of layers) {
      const disk = checkDisk(name, layer, defaults, this.#problems);
      if (disk !== null) disks.push(disk);
    }
    return disks;
  }

  #checkBackings(disks: readonly DiskConfig[]): void {
    const owners = new Map<string, string>();
    for (const { name, backing } of disks) {
      if (backing === undefined) continue;
      const owner = owners.get(backing);
      if (owner !== undefined) {
        const layer = this.#layer.disks.get(name);
        const from = layer?.settings.get('backing')?.from ?? layer?.from ?? '';
        const why = `: two disks use the backing '${printable(backing)}': ${owner} and ${name}`;
        this.#problems.add(() => fault('ERR_ARG_CONFLICT', from, why));
      }
      owners.set(backing, name);
    }
  }

  /** The disks with the default one first. */
  #inOrder(disks: readonly DiskConfig[]): readonly DiskConfig[] {
    const first = this.#values.exportname;
    if (first === undefined) return disks;
    const chosen = disks.find(({ name }) => name === first);
    if (chosen !== undefined) return [chosen, ...disks.filter((disk) => disk !== chosen)];
    const names = [...this.#layer.disks.keys()];
    if (!names.includes(first))
      // otherwise the disk itself has an error
      this.#refuse(
        'ERR_ARG_UNKNOWN',
        'exportname',
        `: no disk '${printable(first)}'${suggestion(first, names)}`,
      );
    return disks;
  }

  #checkAccess(disks: readonly DiskConfig[]): void {
    const disk = disks.find(({ access }) => access !== undefined);
    if (disk === undefined) return;
    const from = this.#layer.disks.get(disk.name)?.from ?? '--disk';
    this.#problems.add(() => noUnixSocket(from, disk.name));
  }

  /** systemd chooses the addresses of sockets that it passes. */
  #refuseListeners(): void {
    for (const name of ['unix', 'port', 'ipaddr'])
      if (this.#has(name))
        this.#refuse(
          'ERR_ARG_CONFLICT',
          name,
          ' and sockets of systemd (LISTEN_FDS) are mutually exclusive: remove the setting, or disable the .socket unit',
        );
  }

  #control(): HostConfig['control'] {
    const path = this.#path('control');
    if (this.#values['no-control']) {
      if (this.#has('control'))
        this.#refuse(
          'ERR_ARG_CONFLICT',
          'control',
          ` and ${this.#from('no-control')} are mutually exclusive`,
        );
      return null;
    }
    if (path !== null) return { path };
    // Many hosts with --run may exist: each has its own control socket, which its command finds.
    return this.#has('run') ? 'private' : 'default';
  }

  #checkSocketMode(unix: string | null): void {
    if (this.#has('socket-mode') && (unix === null || unix === '-'))
      this.#refuse(
        'ERR_ARG_CONFLICT',
        'socket-mode',
        ' requires --unix PATH: a private socket has a fixed mode, and systemd sets that of its sockets',
      );
  }

  #tls(): TlsConfig | null {
    return this.#problems.attempt(() =>
      readTls({
        text: (name) => {
          const value = this.#values[name as keyof HostValues];
          return typeof value === 'string' ? value : null;
        },
        flag: (name) => this.#values[name as keyof HostValues] === true,
        from: (name) => this.#from(name),
      }),
    );
  }

  #tmem(totalLimitBytes: number): TmemConfig | null {
    const from = (name: string): string | null => (this.#has(name) ? this.#from(name) : null);
    const path = this.#path('tmem');
    return this.#problems.attempt(() => tmemConfig(this.#values, path, totalLimitBytes, from));
  }

  /** node:tls cannot move a connection to another thread, and the images of disks are mapped in the main thread. */
  #workers(): number {
    const { workers, tls, persist } = this.#values;
    if (workers > 1 && persist !== undefined)
      this.#refuse(
        'ERR_ARG_CONFLICT',
        'workers',
        ` and ${this.#from('persist')} are mutually exclusive: use workers=1`,
      );
    if (workers > 1 && tls !== 'off')
      this.#refuse(
        'ERR_ARG_CONFLICT',
        'workers',
        ` and ${this.#from('tls')} are mutually exclusive: an encrypted connection stays in the main thread; use workers=1`,
      );
    return workers;
  }

  config(): HostConfig {
    const values = this.#values;
    const totalLimitBytes = values['total-limit'] ?? defaultTotal(this.#memory);
    const described = this.#disks();
    this.#checkBackings(described);
    const disks =
      this.#problems.attempt(() =>
        underTotal(this.#inOrder(described), totalLimitBytes, this.#from('total-limit')),
      ) ?? described;
    const hasTcp = this.#has('port') || this.#has('ipaddr');
    if (this.#hasPassedSockets) this.#refuseListeners();
    const hasNoListener = !hasTcp && !this.#has('unix') && !this.#hasPassedSockets;
    const unix = hasNoListener || values.unix === '-' ? '-' : this.#path('unix');
    const run = values.run ?? null;
    if (!this.#has('unix') && !hasNoListener && !this.#hasPassedSockets) this.#checkAccess(disks);
    this.#checkSocketMode(unix);
    const tcp = { host: values.ipaddr, port: values.port, orNext: hasNoListener };
    return {
      disks,
      hasDefaultDisk: this.#layer.disks.size === 0,
      defaultExport: values.exportname ?? null,
      defaultLimitBytes: values.limit ?? 0,
      totalLimitBytes,
      codec: values.codec,
      workers: this.#workers(),
      unix,
      socketMode: values['socket-mode'],
      tcp: hasTcp || (hasNoListener && run === null) ? tcp : null,
      tls: this.#tls(),
      control: this.#control(),
      metrics: values.metrics ?? null,
      dashboard: values.dashboard ?? null,
      tmem: this.#tmem(totalLimitBytes),
      pidFile: values.pidfile ?? null,
      persist: values.persist === undefined ? null : resolve(values.persist),
      run,
      maxClients: values['max-clients'],
      maxRequests: values['max-requests'],
      maxOutputBytes: values['max-output'],
      maxHandshakes: values['max-handshakes'],
      acceptRate: values['accept-rate'],
      handshakeSeconds: values['handshake-timeout'],
    };
  }
}

/**
 * Checks every setting and fills in the defaults.
 * @param problems errors from reading the sources
 * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN, ERR_ARG_CONFLICT; see Problems.throwIfAny()
 */
export function resolveHostConfig(
  layer: Layer,
  options: ResolveOptions = {},
  problems: Problems = new Problems(),
): HostConfig {
  const config = new Resolver(layer, options, problems).config();
  problems.throwIfAny();
  return config;
}
