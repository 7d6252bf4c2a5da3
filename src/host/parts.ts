/**
 * Interfaces of the parts of a host. compose.ts supplies the real parts, tests supply their own. Apart from compose.ts, host/
 * depends on no device and no protocol, only on the statistics of the device.
 */
import type { ParentBudget } from '../arena/budget.ts';
import type { RamzswapImages } from '../block/disks/ramzswap/backing-tables.ts';
import type { RamzswapStats } from '../block/disks/ramzswap/stats.ts';
import type { Disk } from '../block/ops.ts';
import type { AccessList, RequestGate } from '../nbd/protocol/exports.ts';
import type { TlsCredentials, TlsServerOptions, TlsStats } from '../nbd/server/tls-upgrade.ts';
import type { HandedOver, VisitHooks } from '../nbd/server/visits.ts';
import type { Adopted } from '../store/adopt.ts';
import type { RestoredUser } from '../tmem/server/user-restore.ts';
import type { ClientLimits } from './client-limits.ts';
import type { TmemConfig } from './tmem-config.ts';

/** Statistics of a disk, as the device reports them. */
export type DiskStats = RamzswapStats;

export interface SwapDisk extends Disk, Disposable {
  stats(): DiskStats;
  /** Drops every page. While requests are in flight it does nothing and returns false. */
  reset(): boolean;
  /** Changes the memory limit, bytes. While more is in use it changes nothing and returns false. */
  setLimit(limitBytes: number): boolean;
  /** The first slot at or after `slot` that may have a page in memory; the number of slots if there is none. */
  nextInRam(slot: number): number;
  /** Compacts an idle disk for a few milliseconds, or a share of that. Returns true if there is more to compact. */
  compactIdle(share?: number): boolean;
  /** Drops the pages of the slots [from, to) of a disk without requests in flight. */
  dropPages(from: number, to: number): void;
  /** What was in the images that the disk was created with; absent: no images. */
  readonly adopted?: Adopted;
  /** The broken invariant; the disk then fails every request. Null: none. */
  readonly fault: Error | null;
}

/** The memory limit of all disks together: a Budget, or a SharedBudget. */
export interface TotalBudget extends ParentBudget {
  /** Bytes; 0 = no limit. */
  readonly limitBytes: number;
  readonly usedBytes: number;
  /** If more is in use, it changes nothing and returns false. */
  setLimit(limitBytes: number): boolean;
}

export interface SwapDiskOptions {
  readonly sizeBytes: number;
  /** Maximum memory of the disk, metadata included, bytes; 0 = no limit. */
  readonly limitBytes: number;
  /** The limit of all disks together; absent: none. */
  readonly total?: TotalBudget;
  /** `lz4`, `lz4-native`. */
  readonly codec: string;
  /** Path of a file or block device for pages that do not compress or do not fit. */
  readonly backing?: string;
  /** Memories that outlive the host. */
  readonly images?: DiskImages;
}

/** The image of a disk. */
export interface DiskImages extends RamzswapImages {
  /**
   * Records the backing of the disk, before the tables are opened.
   * @param identity of the file or device; '': the disk has no backing
   * @throws SwapError ERR_ARG_CONFLICT: pages of the image are on another one
   */
  useBacking(identity: string): void;
}

export interface HostExport {
  readonly name: string;
  /** True: a worker serves it, and `disk` only describes it. */
  readonly isElsewhere?: boolean;
  readonly description: string;
  readonly disk: Disk;
  /** Several clients may open it at the same time. */
  readonly isShared: boolean;
  /** The clients that may see it; null: all. */
  readonly access?: AccessList | null;
  /** Why it is in use by something other than NBD; null: it is not. */
  readonly whyBusy?: () => string | null;
  /** Delays its requests. */
  readonly gate?: RequestGate;
  /** Called for each request that the NBD server refuses before it reaches the disk. */
  readonly onInvalid?: () => void;
}

/** The NBD server. */
export interface NbdFrontEnd {
  /** @param mode permission bits of the socket */
  listenUnix(path: string, mode: number): Promise<void>;
  /** @returns the bound port: `port`, or the one that the system chose for 0 */
  listenTcp(host: string, port: number): Promise<{ readonly port: number }>;
  /** Serves a listening socket that another process opened. */
  listenDescriptor(fd: number, kind: 'unix' | 'tcp'): Promise<void>;
  /** Stops accepting, completes requests in flight, ends every connection. */
  close(): Promise<void>;
  /**
   * Disconnects the clients of an export; returns their number.
   * @param allowed clients in this list stay; default: none
   */
  disconnect(exportName: string, allowed?: AccessList): number;
  /** Number of connections that have this export open and are not in the list. */
  outsiders(exportName: string, allowed: AccessList): number;
  /** Serves the requests that the gate of an export delayed, after a thaw or a change of the rate. */
  resume(exportName: string): void;
  /** Number of connections that have this export open. */
  connections(exportName: string): number;
  /** Uses other TLS credentials, of the same kind, for new connections. @throws an error of node:tls */
  reloadTls(credentials: TlsCredentials): void;
  readonly stats: NbdFrontEndStats;
  /**
   * Continues a negotiation of another thread.
   * @param isVisiting the connection returns to that thread if it opens no export
   */
  adopt(connection: HandedOver, isVisiting: boolean): void;
  /** Another thread reports that a connection has opened an export, or has ended. */
  openedAway(id: number, exportName: string): void;
  closedAway(id: number): void;
}

/** What operations on a disk need from the servers of its clients. */
export interface FrontEnds
  extends Pick<NbdFrontEnd, 'connections' | 'disconnect' | 'outsiders' | 'resume'> {
  /** Why a disk is in use by something other than NBD; null: it is not. */
  whyBusy(name: string): string | null;
}

/** The vhost-user socket of one disk. */
export interface VhostUserFrontEnd {
  listen(path: string, mode: number): Promise<void>;
  close(): void;
  readonly isConnected: boolean;
  hasOutsider(allowed: AccessList): boolean;
  disconnect(why: string): void;
  resume(): void;
}

export interface VhostUserFrontEndOptions {
  /** The current disk; absent: the disk is being removed. */
  readonly exportNow: () => HostExport | undefined;
  /** Identifies the contents of the disk: a guest that used other contents is refused. */
  readonly generation: () => string;
  readonly name: string;
  /** Clients that have it open by NBD. */
  readonly nbdClients: () => number;
  readonly log: Log;
  readonly trace: Log;
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
  /** TLS handshakes; null: no TLS. */
  readonly tls: TlsStats | null;
}

export interface NbdFrontEndOptions {
  readonly limits: ClientLimits;
  /** By name; the first one is the default export. */
  readonly exports: ReadonlyMap<string, HostExport>;
  /** Null: no TLS. */
  readonly tls: TlsServerOptions | null;
  /** For exports in other threads; null: there are none. */
  readonly visits: VisitHooks | null;
  readonly log: Log;
  /** Receives a line for each connection opened or closed, and each export opened; null: no trace. */
  readonly trace: Log | null;
}

/** Receives one line for the operator, without newline. */
export type Log = (line: string) => void;

/** One user of the tmem socket. */
export interface TmemUserReport {
  readonly uid: number;
  readonly connections: number;
  readonly weight: number;
  /** Most pages; 0: any number. */
  readonly cap: number;
  readonly compress: boolean;
  readonly isFrozen: boolean;
  readonly ephemeralPages: number;
  readonly persistentPages: number;
  /** Compressed size of the pages. */
  readonly compressedBytes: number;
  readonly puts: number;
  readonly gets: number;
  readonly evictedPages: number;
  readonly refusedPuts: number;
  readonly pools: readonly TmemPoolReport[];
}

export interface TmemPoolReport {
  readonly pool: number;
  readonly isPersistent: boolean;
  /** 32 hex digits; null: it has no name. */
  readonly uuid: string | null;
  /** How many seconds it outlives its last connection; null: until the host ends. */
  readonly leaseSeconds: number | null;
  readonly connections: number;
  readonly pages: number;
}

/** The tmem socket as a whole. */
export interface TmemReport {
  readonly limitBytes: number;
  readonly usedBytes: number;
  /** Payload that evicting every ephemeral page would free. */
  readonly freeableBytes: number;
  readonly ephemeralPages: number;
  readonly persistentPages: number;
  readonly users: readonly TmemUserReport[];
}

export interface TmemChange {
  readonly weight?: number;
  readonly cap?: number;
  readonly compress?: boolean;
}

/**
 * The tmem socket. Operations on a user without pools or connections throw ERR_ARG_UNKNOWN, except set(), which creates the
 * user.
 */
export interface TmemFrontEnd {
  listen(path: string, mode: number): Promise<void>;
  close(): Promise<void>;
  report(): TmemReport;
  set(uid: number, change: TmemChange): void;
  freeze(uid: number): void;
  thaw(uid: number): void;
  /** Drops all pools of the user; returns their number. */
  destroy(uid: number): number;
  /** Freezes the user and starts to save its persistent pools. @throws SwapError also ERR_IO_IN_USE */
  save(uid: number): TmemSave;
  /** @param uid the user who gets the pools; null: the saved one */
  restore(uid: number | null): TmemRestore;
}

/** A save in progress. If it is disposed of without end(), the user is as it was. */
export interface TmemSave extends Disposable {
  /** Writes the next part of the file; the bytes are valid only during the call. @returns true: it was the last part */
  step(sink: (chunk: Uint8Array) => void): boolean;
  /** After the last step: the file was sent, and the user stays frozen. */
  end(): void;
}

/** A restore in progress. If it is disposed of before end(), or if a call throws, nothing of it is left. */
export interface TmemRestore extends Disposable {
  /** Processes the next bytes of the file. @throws SwapError */
  push(chunk: Uint8Array): void;
  /** The file is complete. @throws SwapError */
  end(): RestoredUser;
}

export interface TmemFrontEndOptions {
  readonly config: TmemConfig;
  /** Connections at a time. */
  readonly clientsMax: number;
  readonly total: TotalBudget;
  readonly log: Log;
}

export interface HostParts {
  createDisk(options: SwapDiskOptions): SwapDisk;
  createNbd(options: NbdFrontEndOptions): NbdFrontEnd;
  /** @throws SwapError ERR_IO_NO_ROOM, ERR_IO_UNSUPPORTED */
  createTmem(options: TmemFrontEndOptions): TmemFrontEnd;
  /** @throws SwapError ERR_IO_UNSUPPORTED */
  createVhostUser(options: VhostUserFrontEndOptions): VhostUserFrontEnd;
  /** Returns freed memory of the process to the system; called when all disks are idle. */
  trim(): void;
}
