/**
 * Interfaces of the parts of a host. compose.ts supplies the real parts, tests supply their own. Apart from compose.ts, host/
 * depends on no device and no protocol, only on the statistics of the device.
 */
import type { Budget } from '../arena/budget.ts';
import type { RamzswapStats } from '../block/disks/ramzswap/stats.ts';
import type { Disk } from '../block/ops.ts';

/** Statistics of a disk, as the device reports them. */
export type DiskStats = RamzswapStats;

export interface SwapDisk extends Disk, Disposable {
  stats(): DiskStats;
  /** Drops every page; does nothing and returns false while requests are in flight. */
  reset(): boolean;
  /** Compacts an idle disk for a few milliseconds; returns true if there is more to compact. */
  compactIdle(): boolean;
  /** The broken invariant after which the disk fails every request; null: none. */
  readonly fault: Error | null;
}

export interface SwapDiskOptions {
  readonly sizeBytes: number;
  /** Maximum memory of the disk, metadata included, bytes; 0 = no limit. */
  readonly limitBytes: number;
  /** The limit of all disks together; absent: none. */
  readonly total?: Budget;
  /** `lz4`, `lz4-native`. */
  readonly codec: string;
  /** Path of a file or block device for pages that do not compress or do not fit. */
  readonly backing?: string;
}

export interface HostExport {
  readonly name: string;
  readonly description: string;
  readonly disk: Disk;
  /** Several clients may open it at the same time. */
  readonly isShared: boolean;
  /** Called for each request that the NBD server refuses before it reaches the disk. */
  readonly onInvalid?: () => void;
}

/** The NBD server. */
export interface NbdFrontEnd {
  /** @param mode permission bits of the socket */
  listenUnix(path: string, mode: number): Promise<void>;
  /** @returns the bound port: `port`, or for 0 the one that the system chose */
  listenTcp(host: string, port: number): Promise<{ readonly port: number }>;
  /** Stops accepting, completes requests in flight, ends every connection. */
  close(): Promise<void>;
  /** Disconnects every client of an export; returns their number. */
  disconnect(exportName: string): number;
  /** Number of connections that have this export open. */
  connections(exportName: string): number;
  readonly stats: NbdFrontEndStats;
}

/** Traffic of the NBD server. All counters except connectionCount only increase. */
export interface NbdFrontEndStats {
  readonly connectionCount: number;
  readonly accepted: number;
  /** Refused because maxClients was reached. */
  readonly refused: number;
  /** Connections that the server closed, or that ended with an error of the client. */
  readonly dropped: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface NbdFrontEndOptions {
  /** By name; the first one is the default export. */
  readonly exports: ReadonlyMap<string, HostExport>;
  readonly maxClients: number;
  readonly log: Log;
  /** Receives a line for each connection opened or closed, and each export opened; null: no trace. */
  readonly trace: Log | null;
}

/** Receives one line for the operator, without newline. */
export type Log = (line: string) => void;

export interface HostParts {
  createDisk(options: SwapDiskOptions): SwapDisk;
  createNbd(options: NbdFrontEndOptions): NbdFrontEnd;
  /** Releases memory that the process has freed to the system; called when all disks are idle. */
  trim(): void;
}
