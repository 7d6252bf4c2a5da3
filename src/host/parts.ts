/**
 * What a host is put together from, as the host sees it. compose.ts joins the real parts; tests bring
 * their own. Nothing else in host/ knows a device or a protocol by name; of the device it is the figures alone.
 */
import type { Budget } from '../arena/budget.ts';
import type { RamzswapStats } from '../block/disks/ramzswap/stats.ts';
import type { Disk } from '../block/ops.ts';

/** How a disk does at one moment: what the device itself says. */
export type DiskStats = RamzswapStats;

export interface SwapDisk extends Disk, Disposable {
  stats(): DiskStats;
  /** Drops every page; false, and nothing is done, while requests are under way. */
  reset(): boolean;
  /** Tidies up, some milliseconds a call, while nobody asks for anything; true while there is more to do. */
  compactIdle(): boolean;
  /** What broke an invariant of the disk, which answers errors ever since; null while all is well. */
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
  /** File or block device for what packs poorly or does not fit. */
  readonly backing?: string;
}

export interface HostExport {
  readonly name: string;
  readonly description: string;
  readonly disk: Disk;
  /** Several clients may have it open at a time. */
  readonly isShared: boolean;
  /** Told of each request that the door refuses before it reaches the disk. */
  readonly onInvalid?: () => void;
}

/** The protocol door: sockets in front of the exports. */
export interface NbdFrontEnd {
  /** @param mode permission bits of the socket */
  listenUnix(path: string, mode: number): Promise<void>;
  /** @returns the port that is bound: `port`, or the one the system chose for 0 */
  listenTcp(host: string, port: number): Promise<{ readonly port: number }>;
  /** Stops accepting, answers what is in flight, ends every connection. */
  close(): Promise<void>;
  /** Hangs up on every client of an export; returns how many. */
  disconnect(exportName: string): number;
  /** Clients that have this export open now. */
  connections(exportName: string): number;
  readonly stats: NbdFrontEndStats;
}

/** What went through a door. All but connectionCount grow from the start and never fall. */
export interface NbdFrontEndStats {
  readonly connectionCount: number;
  readonly accepted: number;
  /** Turned away for being one too many. */
  readonly refused: number;
  /** Ended by our decision or by the peer's fault. */
  readonly dropped: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface NbdFrontEndOptions {
  /** By name; the first one is the default export. */
  readonly exports: ReadonlyMap<string, HostExport>;
  readonly maxClients: number;
  readonly log: Log;
  /** Told of every connection that comes, opens an export, or is over; null: nobody wants to know. */
  readonly trace: Log | null;
}

/** One line for the operator, without its end. */
export type Log = (line: string) => void;

export interface HostParts {
  createDisk(options: SwapDiskOptions): SwapDisk;
  createNbd(options: NbdFrontEndOptions): NbdFrontEnd;
  /** Gives back what the process itself has freed; called when all disks have come to rest. */
  trim(): void;
}
