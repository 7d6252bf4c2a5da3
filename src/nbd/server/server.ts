/**
 * An NBD server on Unix and TCP sockets, all in one thread and one event loop.
 *
 * Every connection shares one input and one output buffer (buffers.ts); what a connection costs while idle is
 * its socket and a session without buffers. Bounds: clientCountMax connections, stalledCountMax outputs held by
 * peers that do not read (the one that waits longest gives way), negotiationMs to choose an export. A connection of
 * an asynchronous disk has one batch under way, holds its output meanwhile and is not read. Those outputs are counted apart
 * from the stalled ones: with a bio each at the least there are SLOW_BIO_COUNT (64 MiB) of them, and those that have been
 * answered since the last turn.
 *
 * An export is open to one client identity at a time (client-identity.ts), in any number of connections, unless it is shared.
 *
 * Cost at depth 1: one read and one write of the socket, and Node's own bookkeeping around them.
 */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { BioPool } from '../../block/bio.ts';
import { descriptorOf, withSharedBuffer } from '../../os/socket.ts';
import { withPrivateUmask } from '../../os/unix-socket.ts';
import type { NbdExport, NbdExports } from '../protocol/exports.ts';
import { COUNTER_COUNT } from '../protocol/state.ts';
import { NbdBuffers } from './buffers.ts';
import { addressIdentity, processIdentity } from './client-identity.ts';
import { type ConnectionClient, type ConnectionOwner, NbdConnection } from './connection.ts';

/**
 * Bios for all connections to synchronous disks, which come back within one event, and for all to the others: a session
 * needs one at a time and takes as many as it can put into a batch.
 */
const QUICK_BIO_COUNT = 512;
const SLOW_BIO_COUNT = 256;
const SWEEP_MS = 1000;
const LINES_PER_SWEEP = 100;
/** Connections that every export keeps for itself, however many clients another one has. */
const KEPT_PER_EXPORT = 16;
/** A TCP peer that has been silent this long is asked whether it is there. */
const KEEP_ALIVE_MS = 60_000;

export interface NbdServerOptions {
  /** What is offered; looked up when a client asks. */
  readonly exports: NbdExports;
  /** One line, without its end, for each connection that is dropped or refused. */
  readonly log: (line: string) => void;
  /** One line for each connection that comes, opens an export, or is over. Default: none. */
  readonly trace?: ((line: string) => void) | null;
  /** Connections at a time; more are refused. Default 1024. */
  readonly clientCountMax?: number;
  /** Peers that may leave replies unread at a time. Default 128: 32 MiB. */
  readonly stalledCountMax?: number;
  /** A connection that has not chosen an export after this long is dropped, ms. Default 10,000. */
  readonly negotiationMs?: number;
  /** How long close() waits for requests under way, ms. Default 2,000. */
  readonly closeMs?: number;
  /** The process at the other end of a connected Unix socket, by its descriptor; 0: unknown. Default: this process. */
  readonly peerPid?: (fd: number) => number;
  /** A clock in ms that never goes back. */
  readonly nowMs?: () => number;
  /** False: plain data events instead of the shared buffer, as for sockets that do not offer it. */
  readonly sharedBuffer?: boolean;
}

/** Figures since start. */
export interface NbdStats {
  readonly connectionCount: number;
  readonly connectionsByExport: ReadonlyMap<string, number>;
  readonly accepted: number;
  /** Turned away for being one too many. */
  readonly refused: number;
  /** Ended by our decision or by the peer's fault; each has a line in the log. */
  readonly dropped: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Indexed by Counter of nbd/protocol/state.ts. */
  readonly counters: Float64Array;
}

export class NbdServer implements ConnectionOwner {
  readonly buffers: NbdBuffers;
  readonly exports: NbdExports;
  readonly counters: Float64Array = new Float64Array(COUNTER_COUNT);
  readonly #peerPid: (fd: number) => number;
  readonly #options: NbdServerOptions;
  readonly #nowMs: () => number;
  readonly #clientCountMax: number;
  readonly #stalledCountMax: number;
  readonly #servers = new Set<Server>();
  readonly #connections = new Set<NbdConnection>();
  readonly #byExport = new Map<string, number>();
  /** In the order in which they stalled. */
  readonly #stalled = new Set<NbdConnection>();
  #queue: NbdConnection[] = [];
  #sweeper: NodeJS.Timeout | null = null;
  #isFull = false;
  #isClosing = false;
  #accepted = 0;
  #refused = 0;
  #dropped = 0;
  #bytesIn = 0;
  #bytesOut = 0;
  #whenEmpty: (() => void) | null = null;
  /** Lines about dropped clients that may still be written before the next sweep; those that were not. */
  #linesLeft = LINES_PER_SWEEP;
  #linesKept = 0;

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.exports = options.exports;
    this.#peerPid = options.peerPid ?? ((): number => process.pid);
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
    this.#clientCountMax = options.clientCountMax ?? 1024;
    this.#stalledCountMax = options.stalledCountMax ?? 128;
    const quick = new BioPool(QUICK_BIO_COUNT);
    this.buffers = new NbdBuffers({ quick, slow: new BioPool(SLOW_BIO_COUNT) });
  }

  /**
   * Listens on a Unix socket at `path`, where nothing may be, and which only its owner can use unless `mode` says
   * otherwise. Throws what the system throws: whoever chose the path knows what to say about it.
   */
  async listenUnix(path: string, mode: number = 0o600): Promise<void> {
    const server = this.#makeServer((socket) => ({
      peer: `unix client ${this.#accepted}`,
      identity: processIdentity(this.#peerPid(descriptorOf(socket)), this.#accepted),
    }));
    await this.#listen(server, path, () => withPrivateUmask(path, mode, () => server.listen(path)));
  }

  /**
   * Listens on TCP. Port 0 takes a free one. Throws what the system throws.
   * @returns the address that was bound
   */
  async listenTcp(host: string, port: number): Promise<{ host: string; port: number }> {
    const server = this.#makeServer(({ remoteAddress, remotePort }) => ({
      peer: `${remoteAddress ?? '?'}:${remotePort ?? 0}`,
      identity: addressIdentity(remoteAddress ?? '?'),
    }));
    await this.#listen(server, `${host}:${port}`, () => server.listen(port, host));
    const address = server.address() as AddressInfo;
    return { host: address.address, port: address.port };
  }

  /** Clients that have this export open now. */
  connections(exportName: string): number {
    return this.#byExport.get(exportName) ?? 0;
  }

  get stats(): NbdStats {
    return {
      connectionCount: this.#connections.size,
      connectionsByExport: new Map(this.#byExport),
      accepted: this.#accepted,
      refused: this.#refused,
      dropped: this.#dropped,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      counters: this.counters.slice(),
    };
  }

  /** Hangs up on the clients of an export; returns how many. */
  disconnect(exportName: string): number {
    let count = 0;
    for (const connection of this.#connections) {
      if (connection.session.export?.name !== exportName) continue;
      connection.drop('its export was taken from it');
      count++;
    }
    return count;
  }

  /** Stops accepting, lets what is under way finish, then ends all connections. Safe to call twice. */
  async close(): Promise<void> {
    if (!this.#isClosing) {
      this.#isClosing = true;
      for (const server of this.#servers) server.close();
      for (const connection of this.#connections) connection.shutDown();
    }
    if (this.#connections.size > 0) {
      const giveUp = setTimeout(() => this.#dropStalled(), this.#options.closeMs ?? 2000);
      await new Promise<void>((resolve) => {
        const before = this.#whenEmpty;
        this.#whenEmpty = (): void => {
          before?.();
          resolve();
        };
      });
      clearTimeout(giveUp);
    }
    this.#stopSweeping();
  }

  queue(connection: NbdConnection): void {
    this.#queue.push(connection);
    if (this.#queue.length === 1) setImmediate(this.#serveQueue);
  }

  held(): void {
    this.buffers.replaceOutput();
  }

  stalled(connection: NbdConnection): void {
    this.#stalled.add(connection);
    if (this.#stalled.size <= this.#stalledCountMax) return;
    for (const longest of this.#stalled) {
      this.#stalled.delete(longest); // its socket closes a little later
      longest.drop('does not read its replies');
      return;
    }
  }

  drained(connection: NbdConnection): void {
    this.#stalled.delete(connection);
  }

  moved(inBytes: number, outBytes: number): void {
    this.#bytesIn += inBytes;
    this.#bytesOut += outBytes;
  }

  negotiated(connection: NbdConnection): void {
    const name = connection.session.export?.name ?? '';
    this.#byExport.set(name, (this.#byExport.get(name) ?? 0) + 1);
    this.#options.trace?.(`nbd: ${connection.peer}: opened '${name}'`);
    if (this.connections(name) > this.#clientsOfExportMax())
      connection.drop('its export has too many connections; the others keep some free');
  }

  #clientsOfExportMax(): number {
    const exports = [...this.#options.exports.values()].length;
    const kept = Math.min(KEPT_PER_EXPORT, Math.floor(this.#clientCountMax / exports));
    return this.#clientCountMax - (exports - 1) * kept;
  }

  refusalOf(connection: NbdConnection, wanted: NbdExport): string | null {
    if (wanted.isShared === true) return null;
    for (const other of this.#connections) {
      if (other.session.export?.disk !== wanted.disk || other.isClosing) continue;
      if (other.identity.key === connection.identity.key) return null;
      const why = `'${wanted.name}' is in use by ${other.identity.text()}`;
      this.#log(`nbd: ${connection.peer}: refused: ${why}`);
      return `${why}; serve the disk with shared=on to let several clients in`;
    }
    return null;
  }

  dropped(connection: NbdConnection, reason: string): void {
    this.#dropped++;
    this.#log(`nbd: ${connection.peer}: dropped: ${reason}`);
  }

  /** A peer can make a line as often as it can connect: beyond some a second they are counted, not written. */
  #log(line: string): void {
    if (this.#linesLeft > 0) this.#options.log(line);
    else this.#linesKept++;
    this.#linesLeft = Math.max(0, this.#linesLeft - 1);
  }

  #makeServer(clientOf: (socket: Socket) => ConnectionClient): Server {
    const server = createServer({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
      pauseOnConnect: true,
    });
    server.on('connection', (socket) => this.#accept(socket, clientOf));
    return server;
  }

  async #listen(server: Server, address: string, bind: () => void): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.once('listening', resolve);
        bind();
      });
    } catch (error) {
      server.close();
      throw error;
    }
    server.on('error', (error) => this.#options.log(`nbd: ${address}: ${error.message}`));
    this.#servers.add(server);
    this.#sweeper ??= setInterval(() => this.sweep(), SWEEP_MS).unref();
  }

  #accept(socket: Socket, clientOf: (socket: Socket) => ConnectionClient): void {
    this.#accepted++;
    if (this.#connections.size >= this.#clientCountMax) this.#makeRoom();
    if (this.#isClosing || this.#connections.size >= this.#clientCountMax) {
      this.#refuse(socket);
      return;
    }
    const connection = new NbdConnection(this, clientOf(socket), this.#nowMs);
    this.#connections.add(connection);
    this.#options.trace?.(`nbd: ${connection.peer}: connected`);
    const ours =
      this.#options.sharedBuffer === false
        ? null
        : withSharedBuffer(socket, this.buffers.received, (n) => connection.received(n));
    const used = ours ?? socket;
    used.once('close', () => this.#closed(connection));
    if (ours === null) socket.on('data', (chunk: Uint8Array) => connection.receivedChunk(chunk));
    connection.open(used);
    used.resume();
  }

  /** Drops the oldest connection that has not chosen an export; its place is free when it has closed. */
  #makeRoom(): void {
    for (const connection of this.#connections) {
      if (connection.isNegotiated || connection.isClosing) continue;
      connection.drop('gave way to another client before it chose an export');
      this.#closed(connection);
      return;
    }
  }

  #refuse(socket: Socket): void {
    this.#refused++;
    if (!this.#isFull && !this.#isClosing)
      this.#options.log(`nbd: refusing clients: ${this.#clientCountMax} are connected`);
    this.#isFull = true;
    socket.on('error', () => {}); // it is being hung up on
    socket.destroy();
  }

  #closed(connection: NbdConnection): void {
    if (!this.#connections.delete(connection)) return;
    this.#options.trace?.(`nbd: ${connection.peer}: closed`);
    this.#isFull = false;
    const name = connection.session.export?.name;
    if (connection.isNegotiated && name !== undefined) {
      const left = (this.#byExport.get(name) ?? 1) - 1;
      if (left > 0) this.#byExport.set(name, left);
      else this.#byExport.delete(name);
    }
    if (this.#connections.size === 0) this.#whenEmpty?.();
  }

  /** One turn for each that waits; who queues again in it gets the next one. */
  readonly #serveQueue = (): void => {
    const turn = this.#queue;
    this.#queue = [];
    for (const connection of turn) connection.serve();
  };

  /** Drops who takes too long. Runs by itself once a second while the server listens. */
  sweep(): void {
    if (this.#linesKept > 0) this.#options.log(`nbd: ${this.#linesKept} more clients were dropped`);
    this.#linesKept = 0;
    this.#linesLeft = LINES_PER_SWEEP;
    const now = this.#nowMs();
    const patienceMs = this.#options.negotiationMs ?? 10_000;
    for (const connection of this.#connections) {
      if (now - connection.closingSinceMs > patienceMs) connection.drop('does not hang up');
      else if (!connection.isNegotiated && now - connection.sinceMs > patienceMs)
        connection.drop('did not choose an export in time');
    }
  }

  #dropStalled(): void {
    for (const connection of this.#connections) connection.drop('did not finish before shutdown');
  }

  #stopSweeping(): void {
    if (this.#sweeper !== null) clearInterval(this.#sweeper);
    this.#sweeper = null;
  }
}
