/**
 * Interfaces of the parts of a host. compose.ts supplies the real parts; tests supply their own. Nothing else
 * in host/ depends on a device or a protocol, except for the statistics of the device.
 */
import type { Budget } from '../arena/budget.ts';
import type { RamzswapStats } from '../block/disks/ramzswap/stats.ts';
import type { Disk } from '../block/ops.ts';

/** Statistics of a disk, as the device reports them. */
export type DiskStats = RamzswapStats;

export interface SwapDisk extends Disk, Disposable {
  stats(): DiskStats;
  /** Drops every page; does nothing and returns false while requests are under way. */
  reset(): boolean;
  /** Compacts for some milliseconds while the disk is idle; true while there is more to do. */
  compactIdle(): boolean;
  /** The broken invariant, after which the disk answers every request with an error; null: none. */
  readonly fault: Error | null;
}

export interface SwapDiskOptions {
  readonly sizeBytes: number;
  /** Most memory the disk may take, metadata included; 0 = no limit. */
  readonly limitBytes: number;
  /** The ceiling of all disks together; absent: none. */
  readonly total?: Budget;
  /** `lz4`, `lz4-native`. */
  readonly codec: string;
  /** File or block device for pages that do not compress or do not fit. */
  readonly backing?: string;
}

export interface HostExport {
  readonly name: string;
  readonly description: string;
  readonly disk: Disk;
  /** Several clients may have it open at a time. */
  readonly isShared: boolean;
  /** Called for each request that the NBD server refuses before it reaches the disk. */
  readonly onInvalid?: () => void;
}

/** The NBD server: sockets in front of the exports. */
export interface NbdFrontEnd {
  /** @param mode permission bits of the socket */
  listenUnix(path: string, mode: number): Promise<void>;
  /** @returns the port that is bound: `port`, or the one the system chose for 0 */
  listenTcp(host: string, port: number): Promise<{ readonly port: number }>;
  /** Stops accepting, answers what is in flight, ends every connection. */
  close(): Promise<void>;
  /** Disconnects every client of an export; returns their number. */
  disconnect(exportName: string): number;
  /** Clients that have this export open now. */
  connections(exportName: string): number;
  readonly stats: NbdFrontEndStats;
}

/** Traffic of the NBD server. All counters but connectionCount only grow. */
export interface NbdFrontEndStats {
  readonly connectionCount: number;
  readonly accepted: number;
  /** Refused because maxClients was reached. */
  readonly refused: number;
  /** Connections that this side closed, or that failed through the peer's fault. */
  readonly dropped: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface NbdFrontEndOptions {
  /** By name; the first one is the default export. */
  readonly exports: ReadonlyMap<string, HostExport>;
  readonly maxClients: number;
  readonly log: Log;
  /** Gets a line for each connection opened and closed, and each export opened; null: no trace. */
  readonly trace: Log | null;
}

/** One line for the operator, without its end. */
export type Log = (line: string) => void;

export interface HostParts {
  createDisk(options: SwapDiskOptions): SwapDisk;
  createNbd(options: NbdFrontEndOptions): NbdFrontEnd;
  /** Releases memory that the process itself has freed; called when all disks are idle. */
  trim(): void;
}
