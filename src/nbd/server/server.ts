/**
 * An NBD server on Unix and TCP sockets, in one thread.
 *
 * All connections share one input and one output buffer (buffers.ts); an idle connection costs its socket and a session
 * without buffers. Limits: clientCountMax connections, stalledCountMax outputs of clients that do not read (the longest
 * stalled one is dropped), negotiationMs to choose an export. A connection to an asynchronous disk has one batch in
 * flight; meanwhile it keeps its output and does not read. These outputs are not counted as stalled: each has at least
 * one bio, so there are at most ASYNC_BIO_COUNT (64 MiB), plus those completed since the last turn.
 *
 * One client identity at a time (client-identity.ts) may open an export, with any number of connections, unless the
 * export is shared.
 *
 * Cost at queue depth 1: one read and one write of the socket, plus Node's overhead.
 */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { BioPool } from '../../block/bio.ts';
import { descriptorOf, withSharedBuffer } from '../../os/socket.ts';
import { listenWithMode } from '../../os/unix-socket.ts';
import type { NbdExport, NbdExports } from '../protocol/exports.ts';
import { COUNTER_COUNT } from '../protocol/state.ts';
import { NbdBuffers } from './buffers.ts';
import { addressIdentity, processIdentity } from './client-identity.ts';
import { type ConnectionClient, type ConnectionOwner, NbdConnection } from './connection.ts';

/**
 * Number of bios for all connections to synchronous disks, which end within one event, and to asynchronous disks. A
 * session needs at least one, and uses as many as fit a batch.
 */
const SYNC_BIO_COUNT = 512;
const ASYNC_BIO_COUNT = 256;
const SWEEP_MS = 1000;
const LINES_PER_SWEEP = 100;
/** Connections reserved for each export. */
const RESERVED_PER_EXPORT = 16;
/** TCP keepalive is sent after this idle time. */
const KEEP_ALIVE_MS = 60_000;

export interface NbdServerOptions {
  /** The exports; looked up when a client requests one. */
  readonly exports: NbdExports;
  /** Receives a line, without newline, for each connection that is dropped or refused. */
  readonly log: (line: string) => void;
  /** Receives a line for each connection that is accepted, opens an export, or is closed. Default: none. */
  readonly trace?: ((line: string) => void) | null;
  /** Maximum number of connections; more are refused. Default 1024. */
  readonly clientCountMax?: number;
  /** Maximum number of clients with unread replies. Default 128: 32 MiB. */
  readonly stalledCountMax?: number;
  /** A connection that has not opened an export after this time is dropped, ms. Default 10,000. */
  readonly negotiationMs?: number;
  /** How long close() waits for requests in progress, ms. Default 2,000. */
  readonly closeMs?: number;
  /** The pid of the peer of a connected Unix socket, by file descriptor; 0: unknown. Default: this process. */
  readonly peerPid?: (fd: number) => number;
  /** Monotonic clock, ms. */
  readonly nowMs?: () => number;
  /** False: use 'data' events instead of the shared buffer, as for sockets that do not support it. */
  readonly sharedBuffer?: boolean;
}

/** Statistics since the start. */
export interface NbdStats {
  readonly connectionCount: number;
  readonly connectionsByExport: ReadonlyMap<string, number>;
  readonly accepted: number;
  /** Connections refused because of clientCountMax. */
  readonly refused: number;
  /** Connections ended by the server or after an error of the client; each is logged. */
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
  /** In the order of stalling. */
  readonly #stalled = new Set<NbdConnection>();
  #queue: NbdConnection[] = [];
  #sweeper: NodeJS.Timeout | null = null;
  #isFull = false;
  #isClosing = false;
  /** close() has waited long enough. */
  #isTimedOut = false;
  #accepted = 0;
  #refused = 0;
  #dropped = 0;
  #bytesIn = 0;
  #bytesOut = 0;
  /** Resolves the calls of close(). */
  #whenDrained: (() => void) | null = null;
  /** Number of lines about clients that may still be logged before the next sweep, and of suppressed ones. */
  #linesLeft = LINES_PER_SWEEP;
  #linesSuppressed = 0;

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.exports = options.exports;
    this.#peerPid = options.peerPid ?? ((): number => process.pid);
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
    this.#clientCountMax = options.clientCountMax ?? 1024;
    this.#stalledCountMax = options.stalledCountMax ?? 128;
    this.buffers = new NbdBuffers({
      synchronous: new BioPool(SYNC_BIO_COUNT),
      asynchronous: new BioPool(ASYNC_BIO_COUNT),
    });
  }

  /**
   * Listens on a new Unix socket at `path`; by default only its owner can use it. Throws the system error: the caller
   * adds advice.
   */
  async listenUnix(path: string, mode: number = 0o600): Promise<void> {
    const server = this.#makeServer((socket) => ({
      peer: `unix client ${this.#accepted}`,
      identity: processIdentity(this.#peerPid(descriptorOf(socket)), this.#accepted),
    }));
    await this.#listen(server, path, () => listenWithMode(path, mode, () => server.listen(path)));
  }

  /**
   * Listens on TCP. Port 0 selects a free port. Throws the system error.
   * @returns the bound address
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

  /** Number of connections that have this export open. */
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

  /** Disconnects the clients of an export. Returns the number of connections. */
  disconnect(exportName: string): number {
    let count = 0;
    for (const connection of this.#connections) {
      if (connection.session.export?.name !== exportName) continue;
      connection.drop('export removed');
      count++;
    }
    return count;
  }

  /**
   * Stops accepting, waits for requests in progress, then ends all connections. Afterwards no bio is in flight and no disk
   * is ticked, unless a disk did not finish within closeMs. Safe to call twice.
   */
  async close(): Promise<void> {
    if (!this.#isClosing) {
      this.#isClosing = true;
      for (const server of this.#servers) server.close();
      for (const connection of this.#connections) connection.shutDown();
    }
    if (!this.#isDrained) {
      const timeout = setTimeout(() => this.#dropStalled(), this.#options.closeMs ?? 2000);
      await new Promise<void>((resolve) => {
        const before = this.#whenDrained;
        this.#whenDrained = (): void => {
          before?.();
          resolve();
        };
      });
      clearTimeout(timeout);
    }
    this.#queue = [];
    this.#stopSweeping();
  }

  /** A connection that was closed while its disk has bios in flight stays in the queue until they have ended. */
  get #isDrained(): boolean {
    return this.#connections.size === 0 && (this.#queue.length === 0 || this.#isTimedOut);
  }

  queue(connection: NbdConnection): void {
    this.#queue.push(connection);
    if (this.#queue.length === 1) setImmediate(this.#serveQueue);
  }

  outputKept(): void {
    this.buffers.replaceOutput();
  }

  stalled(connection: NbdConnection): void {
    this.#stalled.add(connection);
    if (this.#stalled.size <= this.#stalledCountMax) return;
    for (const longest of this.#stalled) {
      this.#stalled.delete(longest); // its socket closes a little later
      longest.drop('client does not read its replies');
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
      connection.drop(
        'too many connections to this export; the rest are reserved for other exports',
      );
  }

  #clientsOfExportMax(): number {
    const exports = [...this.#options.exports.values()].length;
    const reserved = Math.min(RESERVED_PER_EXPORT, Math.floor(this.#clientCountMax / exports));
    return this.#clientCountMax - (exports - 1) * reserved;
  }

  refusalOf(connection: NbdConnection, requested: NbdExport): string | null {
    if (requested.isShared === true) return null;
    for (const other of this.#connections) {
      if (other.session.export?.disk !== requested.disk || other.isClosing) continue;
      if (other.identity.key === connection.identity.key) return null;
      const why = `'${requested.name}' is in use by ${other.identity.text()}`;
      this.#log(`nbd: ${connection.peer}: refused: ${why}`);
      return `${why}; serve the disk with shared=on to allow several clients`;
    }
    return null;
  }

  dropped(connection: NbdConnection, reason: string): void {
    this.#dropped++;
    this.#log(`nbd: ${connection.peer}: dropped: ${reason}`);
  }

  /** Clients can cause a line per connection: beyond LINES_PER_SWEEP lines are counted, not logged. */
  #log(line: string): void {
    if (this.#linesLeft > 0) this.#options.log(line);
    else this.#linesSuppressed++;
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
    if (this.#connections.size >= this.#clientCountMax) this.#dropOldestNegotiation();
    if (this.#isClosing || this.#connections.size >= this.#clientCountMax) {
      this.#refuse(socket);
      return;
    }
    const connection = new NbdConnection(this, clientOf(socket), this.#nowMs);
    this.#connections.add(connection);
    this.#options.trace?.(`nbd: ${connection.peer}: connected`);
    const shared =
      this.#options.sharedBuffer === false
        ? null
        : withSharedBuffer(socket, this.buffers.received, (n) => connection.received(n));
    const used = shared ?? socket;
    used.once('close', () => this.#closed(connection));
    if (shared === null) socket.on('data', (chunk: Uint8Array) => connection.receivedChunk(chunk));
    connection.open(used);
    used.resume();
  }

  /** Drops the oldest connection that has not opened an export. */
  #dropOldestNegotiation(): void {
    for (const connection of this.#connections) {
      if (connection.isNegotiated || connection.isClosing) continue;
      connection.drop('connection limit reached before the client opened an export');
      this.#closed(connection);
      return;
    }
  }

  #refuse(socket: Socket): void {
    this.#refused++;
    if (!this.#isFull && !this.#isClosing)
      this.#log(`nbd: refusing clients: limit of ${this.#clientCountMax} connections reached`);
    this.#isFull = true;
    socket.on('error', () => {}); // the socket is destroyed
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
    if (this.#isDrained) this.#whenDrained?.();
  }

  /** One turn for each queued connection; those that queue again wait for the next one. */
  readonly #serveQueue = (): void => {
    const turn = this.#queue;
    this.#queue = [];
    for (const connection of turn) connection.serve();
    if (this.#isDrained) this.#whenDrained?.();
  };

  /** Drops connections that exceed their time limits. Runs once a second while the server listens. */
  sweep(): void {
    if (this.#linesSuppressed > 0)
      this.#options.log(`nbd: ${this.#linesSuppressed} more messages about clients suppressed`);
    this.#linesSuppressed = 0;
    this.#linesLeft = LINES_PER_SWEEP;
    const now = this.#nowMs();
    const timeoutMs = this.#options.negotiationMs ?? 10_000;
    for (const connection of this.#connections) {
      if (now - connection.closingSinceMs > timeoutMs)
        connection.drop('client does not close the connection');
      else if (!connection.isNegotiated && now - connection.sinceMs > timeoutMs)
        connection.drop('negotiation timed out');
    }
  }

  #dropStalled(): void {
    this.#isTimedOut = true;
    for (const connection of this.#connections)
      connection.drop('requests not finished before shutdown');
    if (this.#isDrained) this.#whenDrained?.();
  }

  #stopSweeping(): void {
    if (this.#sweeper !== null) clearInterval(this.#sweeper);
    this.#sweeper = null;
  }
}
