/**
 * What a reload has to do: the differences between the old and the new contents of the files that the running host does not
 * have yet. Computed from values alone; apply.ts carries it out.
 */
import type { HostConfig } from '../config/host-config.ts';
import type { DiskConfig } from '../disk-config.ts';
import type { DiskChange } from '../disk-table.ts';
import type { TlsConfig } from '../tls-config.ts';

/** What the plan looks at in a running host. */
export interface RunningHost {
  readonly disks: readonly DiskConfig[];
  readonly totalLimitBytes: number;
}

export type Step =
  | { readonly kind: 'add'; readonly disk: DiskConfig }
  | { readonly kind: 'remove'; readonly name: string }
  /** `keys`: the fields that are done when the step has succeeded. */
  | {
      readonly kind: 'set';
      readonly name: string;
      readonly change: DiskChange;
      readonly keys: readonly (keyof DiskConfig)[];
    }
  /** The disk already is what the files say. */
  | {
      readonly kind: 'agree';
      readonly name: string;
      readonly keys: readonly (keyof DiskConfig)[];
    }
  | { readonly kind: 'total'; readonly bytes: number }
  | { readonly kind: 'socket-mode' | 'tls' | 'metrics' | 'default-limit' }
  | { readonly kind: 'default-export'; readonly name: string };

export interface Plan {
  readonly steps: readonly Step[];
  /** Settings that differ but that a reload cannot change, with what to do. */
  readonly refused: readonly string[];
}

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Each group is one change: if one is refused, the others still happen. */
const changeGroups: readonly (readonly (keyof DiskConfig)[])[] = [
  ['keepSeconds', 'rateBytes'],
  ['access'],
  ['limitBytes'],
  ['sizeBytes'],
];

const fixedFields = { backing: 'backing', isShared: 'shared', vhostUser: 'vhost-user' } as const;

function changeTo(now: DiskConfig, keys: readonly (keyof DiskConfig)[]): DiskChange {
  const { sizeBytes, limitBytes, rateBytes, keepSeconds, access } = now;
  const all: Partial<Record<keyof DiskConfig, DiskChange>> = {
    sizeBytes: { sizeBytes },
    limitBytes: { limitBytes },
    rateBytes: { rateBytes },
    keepSeconds: { keepSeconds },
    access: { access: access ?? { uids: 'any' } },
  };
  return Object.assign({}, ...keys.map((key) => all[key])) as DiskChange;
}

/** @param said what the files said about the disk; absent: nothing */
function planDisk(
  said: DiskConfig | undefined,
  now: DiskConfig,
  running: DiskConfig | undefined,
  refused: string[],
): Step[] {
  const { name } = now;
  if (isSame(said, now)) return [];
  if (running === undefined) return [{ kind: 'add', disk: now }];
  const steps: Step[] = [];
  for (const group of changeGroups) {
    const news = group.filter((key) => said === undefined || !isSame(said[key], now[key]));
    const keys = news.filter((key) => !isSame(running[key], now[key]));
    if (keys.length > 0) steps.push({ kind: 'set', name, change: changeTo(now, keys), keys: news });
    else if (news.length > 0) steps.push({ kind: 'agree', name, keys: news });
  }
  for (const [key, setting] of Object.entries(fixedFields) as [keyof DiskConfig, string][]) {
    if (said !== undefined && isSame(said[key], now[key])) continue;
    if (isSame(running[key], now[key])) steps.push({ kind: 'agree', name, keys: [key] });
    else
      refused.push(
        `disk ${name}: ${setting} is fixed while the disk is served: run 'frontswap remove ${name}' once its client is detached, and reload again`,
      );
  }
  return steps;
}

/** The fields that a reload applies; hasDefaultDisk follows from the disks. */
type ReloadedField =
  | 'disks'
  | 'hasDefaultDisk'
  | 'defaultExport'
  | 'defaultLimitBytes'
  | 'totalLimitBytes'
  | 'socketMode'
  | 'tls'
  | 'metrics';

/** Settings that are read only at a start, by the field of the configuration: all other fields. */
const startFields: Readonly<Record<Exclude<keyof HostConfig, ReloadedField>, string>> = {
  codec: 'codec',
  workers: 'workers',
  unix: 'unix',
  tcp: 'port or ipaddr',
  control: 'control or no-control',
  tmem: 'tmem or tmem-...',
  pidFile: 'pidfile',
  persist: 'persist',
  run: 'run',
  dashboard: 'dashboard',
  maxClients: 'max-clients',
  maxRequests: 'max-requests',
  maxOutputBytes: 'max-output',
  maxHandshakes: 'max-handshakes',
  acceptRate: 'accept-rate',
  handshakeSeconds: 'handshake-timeout',
};

/**
 * Files of the same kind can be replaced. The mode belongs to the listeners, and node:tls fixes at the start whether it asks
 * for client certificates: a reload must not seem to change these.
 */
export function canExchangeTls(before: HostConfig['tls'], now: HostConfig['tls']): boolean {
  if (before === null || before.mode !== now?.mode) return false;
  const verifies = ({ source }: TlsConfig): string =>
    source.kind === 'x509' ? `x509 ${source.verifyPeer}` : source.kind;
  return verifies(before) === verifies(now);
}

/** @param said what the files said at the last reload or the start */
export function planReload(said: HostConfig, now: HostConfig, running: RunningHost): Plan {
  const refused: string[] = [];
  const before = new Map(said.disks.map((disk) => [disk.name, disk]));
  const served = new Map(running.disks.map((disk) => [disk.name, disk]));
  const kept = new Set(now.disks.map(({ name }) => name));
  const removals = said.disks
    .filter(({ name }) => !kept.has(name))
    .map(({ name }): Step => ({ kind: 'remove', name }));
  const disks = now.disks.flatMap((disk) =>
    planDisk(before.get(disk.name), disk, served.get(disk.name), refused),
  );
  const additions = disks.filter(({ kind }) => kind === 'add');
  const changes = disks.filter(({ kind }) => kind !== 'add');
  const total: Step[] = isSame(said.totalLimitBytes, now.totalLimitBytes)
    ? []
    : [{ kind: 'total', bytes: now.totalLimitBytes }];
  const isHigher =
    now.totalLimitBytes === 0 ||
    (running.totalLimitBytes !== 0 && now.totalLimitBytes > running.totalLimitBytes);
  const rest: Step[] = [];
  if (said.socketMode !== now.socketMode) rest.push({ kind: 'socket-mode' });
  if (canExchangeTls(said.tls, now.tls)) rest.push({ kind: 'tls' });
  else if (!isSame(said.tls, now.tls))
    refused.push(
      'tls: whether clients use TLS and how they are verified is read only at a start: restart the host',
    );
  if (!isSame(said.metrics, now.metrics)) rest.push({ kind: 'metrics' });
  if (now.defaultExport !== null && now.defaultExport !== said.defaultExport)
    rest.push({ kind: 'default-export', name: now.defaultExport });
  for (const [field, setting] of Object.entries(startFields) as [keyof HostConfig, string][])
    if (!isSame(said[field], now[field]))
      refused.push(`${setting}: is read only at a start: restart the host`);
  const limit: Step[] =
    said.defaultLimitBytes === now.defaultLimitBytes ? [] : [{ kind: 'default-limit' }];
  return {
    steps: [
      ...(isHigher ? total : []),
      ...limit,
      ...removals,
      ...changes,
      ...additions,
      ...(isHigher ? [] : total),
      ...rest,
    ],
    refused,
  };
}
