/** Parts for tests of the host alone: a disk that only counts requests, an NBD server that only accepts connections. */
import { createServer, type Server, type Socket } from 'node:net';
import { bytes, PAGE_BYTES } from '../../../src/base/units.ts';
import { type Bio, BioOp, BioQueue } from '../../../src/block/bio.ts';
import { Extent } from '../../../src/block/ops.ts';
import type {
  DiskStats,
  HostParts,
  NbdFrontEnd,
  NbdFrontEndOptions,
  NbdFrontEndStats,
  SwapDisk,
  SwapDiskOptions,
} from '../../../src/host/parts.ts';

export class StandInDisk implements SwapDisk {
  readonly sizeBytes: SwapDisk['sizeBytes'];
  readonly limits: SwapDisk['limits'] = {
    physicalBlockBytes: PAGE_BYTES,
    discardGranularityBytes: PAGE_BYTES,
    maxTransferBytes: 1 << 25,
  };
  readonly readOnly = false;
  readonly synchronous = true;
  readonly seen: string[] = [];
  stats_: DiskStats;
  settled = 0;
  disposed = 0;
  readonly total: SwapDiskOptions['total'];
  readonly #done = new BioQueue();

  constructor({ sizeBytes, limitBytes, codec, total }: SwapDiskOptions) {
    this.total = total;
    this.sizeBytes = bytes(sizeBytes);
    this.stats_ = {
      diskSizeBytes: sizeBytes,
      storedPages: 3,
      dataBytes: 3 * PAGE_BYTES,
      compressedBytes: 2000,
      usedBytes: 6144,
      peakUsedBytes: 8192,
      sameFilledPages: 1,
      zeroPages: 1,
      goodPages: 1,
      incompressiblePages: 0,
      limitBytes,
      compactedPages: 0,
      reads: 5,
      writes: 7,
      discards: 2,
      notifyFree: 512,
      missFree: 0,
      invalidIo: 0,
      failedReads: 0,
      failedWrites: 0,
      backingBytes: 0,
      backingReads: 0,
      backingWrites: 0,
      backingDiscardedBytes: 0,
      backingFailures: 0,
      backingNoSpace: 0,
      backingMismatches: 0,
      algorithm: codec,
    };
  }

  stats(): DiskStats {
    return this.stats_;
  }
  fault: Error | null = null;
  resets = 0;
  /** How often reset() still refuses, as with requests in flight. */
  busyResets = 0;
  reset(): boolean {
    if (this.busyResets-- > 0) return false;
    this.resets++;
    return true;
  }
  setLimit(limitBytes: number): boolean {
    if (limitBytes !== 0 && limitBytes < this.stats_.usedBytes) return false;
    this.stats_ = { ...this.stats_, limitBytes };
    return true;
  }
  nextInRam(): number {
    return this.sizeBytes / PAGE_BYTES;
  }
  dropPages(): void {}
  compactIdle(): boolean {
    this.settled++;
    return false;
  }
  submit(bio: Bio): void {
    const name = Object.entries(BioOp).find(([, op]) => op === bio.op)?.[0];
    this.seen.push(name ?? '?');
    this.#done.push(bio);
  }
  tick(): number {
    let count = 0;
    for (let bio = this.#done.shift(); bio !== null; bio = this.#done.shift()) {
      bio.owner.bioEnd(bio);
      count++;
    }
    return count;
  }
  extents(_offset: number, length: number, sink: (kind: Extent, length: number) => boolean): void {
    sink(Extent.hole, length);
  }
  [Symbol.dispose](): void {
    this.disposed++;
  }
}

class StandInNbd implements NbdFrontEnd {
  readonly options: NbdFrontEndOptions;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  closed = 0;
  mode = 0;
  #accepted = 0;

  constructor(options: NbdFrontEndOptions) {
    this.options = options;
  }
  async #listen(listen: (server: Server, done: () => void) => void): Promise<Server> {
    const server = createServer((socket) => {
      this.#sockets.add(socket);
      this.#accepted++;
      socket.on('error', () => undefined);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      listen(server, resolve);
    });
    this.#servers.push(server);
    return server;
  }
  async listenUnix(path: string, mode: number): Promise<void> {
    this.mode = mode;
    await this.#listen((server, done) => server.listen(path, done));
  }
  async listenTcp(host: string, port: number): Promise<{ port: number }> {
    const server = await this.#listen((s, done) => s.listen(port, host, done));
    const address = server.address();
    return { port: typeof address === 'object' && address !== null ? address.port : 0 };
  }
  async listenDescriptor(fd: number): Promise<void> {
    await this.#listen((server, done) => server.listen({ fd }, done));
  }
  async close(): Promise<void> {
    this.closed++;
    const closing = this.#servers.map((server) => new Promise((r) => server.close(r)));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closing);
  }
  get stats(): NbdFrontEndStats {
    const connectionCount = this.#sockets.size;
    const accepted = this.#accepted;
    return {
      connectionCount,
      accepted,
      refused: 2,
      dropped: 3,
      bytesIn: 4,
      bytesOut: 5,
      tls: null,
    };
  }
  disconnect(exportName: string): number {
    const count = this.connections(exportName);
    if (count > 0) for (const socket of this.#sockets) socket.destroy();
    return count;
  }
  reloadTls(): void {}
  adopt(): void {}
  openedAway(): void {}
  closedAway(): void {}
  outsiders(): number {
    return 0;
  }
  resumed: string[] = [];
  resume(exportName: string): void {
    this.resumed.push(exportName);
  }
  connections(exportName: string): number {
    // The stand-in speaks no NBD, so every socket counts for the default export.
    const [first] = this.options.exports.keys();
    return exportName === first ? this.#sockets.size : 0;
  }
}

/** Parts that record the disks and servers they created. */
export interface StandInParts extends HostParts {
  readonly disks: StandInDisk[];
  readonly servers: (NbdFrontEnd & {
    readonly options: NbdFrontEndOptions;
    readonly closed: number;
    readonly mode: number;
  })[];
  /** Number of calls of trim(). */
  trims: number;
}

export function standInParts(): StandInParts {
  const disks: StandInDisk[] = [];
  const servers: StandInNbd[] = [];
  return {
    disks,
    servers,
    trims: 0,
    trim() {
      this.trims++;
    },
    createDisk(options) {
      const disk = new StandInDisk(options);
      disks.push(disk);
      return disk;
    },
    createVhostUser() {
      throw new Error('stand-in parts have no vhost-user');
    },
    createTmem() {
      throw new Error('no test with these parts opens a tmem socket');
    },
    createNbd(options) {
      const made = new StandInNbd(options);
      servers.push(made);
      return made;
    },
  };
}
