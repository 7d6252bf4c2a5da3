/** Carries out the plan of a reload, step by step. A failed step is reported, and the other steps are still done. */
import { SwapError } from '../../base/errors.ts';
import { formatSize } from '../../base/size.ts';
import type { HostConfig } from '../config/host-config.ts';
import type { DiskConfig } from '../disk-config.ts';
import type { DiskChange } from '../disk-table.ts';
import type { MetricsAddress } from '../metrics-server.ts';
import type { Plan, RunningHost, Step } from './plan.ts';

/** What a reload changes in a host. If one throws a SwapError, it has changed nothing. */
export interface ReloadTarget {
  isStopping(): boolean;
  running(): RunningHost;
  add(disk: DiskConfig): void | Promise<void>;
  remove(name: string): Promise<unknown>;
  set(name: string, change: DiskChange): Promise<void>;
  setTotal(bytes: number): void;
  setDefaultLimit(bytes: number): void;
  setDefaultExport(name: string): void;
  setSocketMode(mode: number): void;
  setMetrics(address: MetricsAddress | null): Promise<void>;
  /** Reads the files of TLS and returns a function that uses them for new connections. Null: there is no TLS. */
  loadTls(config: HostConfig): (() => void) | null;
}

export interface ReloadReport {
  /** What was changed, one line each. */
  readonly changed: readonly string[];
  /** Errors of the steps that failed; the next reload tries them again. */
  readonly failed: readonly string[];
  /** Settings that a reload does not change. */
  readonly ignored: readonly string[];
}

/** What the files said before, updated with everything that was applied. */
class Said {
  readonly #now: HostConfig;
  readonly #disks: Map<string, DiskConfig>;
  #config: HostConfig;

  constructor(said: HostConfig, now: HostConfig) {
    this.#config = said;
    this.#now = now;
    this.#disks = new Map(said.disks.map((disk) => [disk.name, disk]));
  }

  get config(): HostConfig {
    const { hasDefaultDisk } = this.#now;
    const known = this.#now.disks.flatMap(({ name }) => this.#disks.get(name) ?? []);
    const others = [...this.#disks.values()].filter((disk) => !known.includes(disk));
    return { ...this.#config, hasDefaultDisk, disks: [...known, ...others] };
  }

  take(...fields: readonly (keyof HostConfig)[]): void {
    for (const field of fields) this.#config = { ...this.#config, [field]: this.#now[field] };
  }

  setDisk(disk: DiskConfig): void {
    this.#disks.set(disk.name, disk);
  }

  dropDisk(name: string): void {
    this.#disks.delete(name);
  }

  /** @param running the disk, if the files said nothing about it before */
  takeDisk(name: string, keys: readonly (keyof DiskConfig)[], running: DiskConfig): void {
    const now = this.#now.disks.find((disk) => disk.name === name)!;
    const before = this.#disks.get(name) ?? running;
    const { access, backing, ...rest } = {
      ...before,
      ...Object.fromEntries(keys.map((key) => [key, now[key]])),
    } as DiskConfig;
    this.#disks.set(name, {
      ...rest,
      ...(access === undefined ? {} : { access }),
      ...(backing === undefined ? {} : { backing }),
    });
  }
}

const changedText = ({ change }: Step & { kind: 'set' }): string =>
  Object.keys(change)
    .map((key) => key.replace(/Bytes$|Seconds$/, ''))
    .join(', ');

/** Carries out a step; returns what it changed, or null for nothing. */
async function carryOut(
  step: Step,
  now: HostConfig,
  target: ReloadTarget,
  exchangeTls: (() => void) | null,
): Promise<string | null> {
  switch (step.kind) {
    case 'add':
      await target.add(step.disk);
      return `disk ${step.disk.name}: added`;
    case 'remove':
      if (!target.running().disks.some(({ name }) => name === step.name)) return null;
      await target.remove(step.name);
      return `disk ${step.name}: removed`;
    case 'set':
      await target.set(step.name, step.change);
      return `disk ${step.name}: ${changedText(step)} changed`;
    case 'agree':
      return null;
    case 'total':
      target.setTotal(step.bytes);
      return `total-limit: ${step.bytes === 0 ? 'none' : formatSize(step.bytes)}`;
    case 'default-limit':
      target.setDefaultLimit(now.defaultLimitBytes);
      return 'limit: changed for the disks without their own';
    case 'default-export':
      target.setDefaultExport(step.name);
      return `exportname: ${step.name}`;
    case 'socket-mode':
      target.setSocketMode(now.socketMode);
      return `socket-mode: ${now.socketMode.toString(8).padStart(4, '0')}`;
    case 'metrics':
      await target.setMetrics(now.metrics);
      return now.metrics === null ? 'metrics: closed' : `metrics: port ${now.metrics.port}`;
    case 'tls':
      exchangeTls?.();
      return 'the TLS files were read again; they apply to new connections';
  }
}

/** Notes that a step was done. */
function note(step: Step, said: Said, running: readonly DiskConfig[]): void {
  if (step.kind === 'add') said.setDisk(step.disk);
  else if (step.kind === 'remove') said.dropDisk(step.name);
  else if (step.kind === 'set' || step.kind === 'agree')
    said.takeDisk(step.name, step.keys, running.find(({ name }) => name === step.name)!);
  else if (step.kind === 'total') said.take('totalLimitBytes');
  else if (step.kind === 'default-limit') said.take('defaultLimitBytes');
  else if (step.kind === 'default-export') said.take('defaultExport');
  else if (step.kind === 'socket-mode') said.take('socketMode');
  else if (step.kind === 'metrics') said.take('metrics');
  else said.take('tls');
}

/**
 * @param exchangeTls starts to use the files of TLS, which were read and checked
 * @returns the report, and the settings of the files that are now in effect
 */
export async function applyPlan(
  { steps, refused }: Plan,
  { said, now }: { readonly said: HostConfig; readonly now: HostConfig },
  target: ReloadTarget,
  exchangeTls: (() => void) | null,
): Promise<{ readonly report: ReloadReport; readonly said: HostConfig }> {
  const [changed, failed]: [string[], string[]] = [[], []];
  const { disks } = target.running();
  const state = new Said(said, now);
  for (const step of steps) {
    if (target.isStopping()) {
      failed.push('the host is stopping: the other changes are not made');
      break;
    }
    try {
      const what = await carryOut(step, now, target, exchangeTls);
      if (what !== null) changed.push(what);
      note(step, state, disks);
    } catch (error) {
      if (!(error instanceof SwapError)) throw error;
      failed.push(error.message);
    }
  }
  return { report: { changed, failed, ignored: refused }, said: state.config };
}
