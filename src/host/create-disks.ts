/** Chooses where the disks of a host are served: in its own thread, or in engine workers. */
import { Budget } from '../arena/budget.ts';
import type { Counters } from '../base/counters.ts';
import type { HostCounter } from './counters.ts';
import type { HostEvents } from './events.ts';
import type { HostDisks } from './host-disks.ts';
import type { HostOptions } from './host-options.ts';
import type { ImageFolder } from './image-folder.ts';
import { LocalDisks } from './local-disks.ts';
import type { Log } from './parts.ts';
import { WorkerDisks } from './workers/worker-disks.ts';

/** Where a host reports what happens to its disks. */
export interface DiskReporters {
  readonly events: HostEvents;
  readonly counters: Counters<HostCounter>;
  readonly log: Log;
  /** Null if there are workers. */
  readonly images: ImageFolder | null;
  /** A line for each connection opened or closed. */
  readonly trace: Log;
  readonly onLost: (line: string) => void;
}

/** @throws SwapError ERR_IO_UNSUPPORTED: workers are not supported on this machine */
export function createDisks(
  { parts, config, log: print, passedSockets = [] }: HostOptions,
  { trace, onLost, images, ...reporters }: DiskReporters,
): HostDisks {
  const { codec, workers, totalLimitBytes, unix, socketMode } = config;
  const hasUnix = unix !== null || passedSockets.some(({ address }) => address.kind === 'unix');
  const shared = { ...reporters, codec, print, hasUnix, socketMode, trace };
  return workers === 1
    ? new LocalDisks({ ...shared, parts, images, total: new Budget(totalLimitBytes) })
    : new WorkerDisks({ ...shared, workers, totalLimitBytes, limits: config, onLost });
}
