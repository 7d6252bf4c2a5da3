/** The options of a host. */
import type { HostConfig } from './config/host-config.ts';
import type { HostParts, Log } from './parts.ts';
import type { PassedSocket } from './service-variables.ts';

export interface HostOptions {
  readonly config: HostConfig;
  readonly parts: HostParts;
  /** Listening sockets of the service manager. Their files are not removed. */
  readonly passedSockets?: readonly PassedSocket[];
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
  /** Called if that stop is allowed. */
  readonly onStopRequest: () => void;
  /** Reads the configuration again for a reload; absent: there are no files. @throws SwapError */
  readonly readConfig?: (() => HostConfig) | null;
  /** Called at the start and at the end of a reload. */
  readonly onReloading?: (isReloading: boolean) => void;
  /** Called after a reload that changed something, with the settings of the files that are now in effect. */
  readonly onReloaded?: (config: HostConfig) => void;
  /** Called when an engine worker has ended and its pages are lost. logError has already received the reason. */
  readonly onLost?: () => void;
  /** For lines that are printed even with --quiet. */
  readonly logError?: Log;
}
