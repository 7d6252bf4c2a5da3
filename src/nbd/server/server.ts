/**
 * An NBD server on Unix and TCP sockets, in one thread.
 *
 * All connections share one input and one output buffer (buffers.ts); an idle connection costs its socket and a session without
 * buffers. Limits: clientCountMax connections, stalledCountMax outputs of clients that do not read (the client that has been
 * stalled longest is dropped), negotiationMs to choose an export. A connection to an asynchronous disk has one batch in flight;
 * until that ends, it keeps its output and does not read. These outputs do not count as stalled: each has at least one bio, so
 * there are at most ASYNC_BIO_COUNT (64 MiB), plus those completed since the last turn.
 *
 * Unless an export is shared, only one client identity at a time (client-identity.ts) may open it, with any number of
 * connections. A client sees only the exports with access lists that include it (visible-exports.ts).
 *
 * Exports of other threads (NbdExport.isElsewhere): the server with the listeners hands over the negotiation at the option that
 * opens one, and adopt() continues it in the server of the other thread, which has no listeners. visits.ts has the rules.
 *
 * Cost at queue depth 1: one read and one write of the socket, plus Node's overhead.
 */
import type { Socket } from 'node:net';
import { BioPool } from '../../block/bio.ts';
import { Listeners, type SocketKind } from '../../net/listeners.ts';
import { Flow, Turns } from '../../net/turns.ts';
import type { PeerCredentials } from '../../os/linux/peer-credentials.ts';
import { descriptorOf, socketOf, withSharedBuffer } from '../../os/socket.ts';
import type { AccessList, NbdExport, NbdExports } from '../protocol/exports.ts';
import { COUNTER_COUNT } from '../protocol/state.ts';
import { AcceptQueue } from './accept-queue.ts';
import { DOES_NOT_READ, type NbdBuffers, nbdBuffers, OUTPUT_BYTES_DEFAULT } from './buffers.ts';
import { addressIdentity, identityValueOf, processIdentity } from './client-identity.ts';
import { ClientLog } from './client-log.ts';
import { NbdConnection } from './connection.ts';
import type { ConnectionClient, ConnectionOwner } from './connection-owner.ts';
import { HeldConnections } from './held-connections.ts';
import { oldestNegotiation } from './oldest-negotiation.ts';
import type { NbdServerOptions, NbdStats } from './server-options.ts';
import { type TlsCredentials, TlsUpgrade } from './tls-upgrade.ts';
import { isAllowed } from './visible-exports.ts';
import { AwayConnections, clientOf, type HandedOver } from './visits.ts';

/**
 * Number of bios for all connections to synchronous disks, which end within one event, and for all connections to asynchronous
 * disks. A session needs at least one, and uses as many as fit in a batch.
 */
const SYNC_BIO_COUNT = 512;
const ASYNC_BIO_COUNT = 256;
/** Maximum memory of clients with unread replies. */
const STALLED_BYTES_MAX: number = 32 * 1024 * 1024;
const SWEEP_MS = 1000;
/** Connections reserved for each export. */
const RESERVED_PER_EXPORT = 16;
/** Work of accepting a connection; see protocol/work.ts. */
const ACCEPT_WORK = 131072;

/** An accepted socket, not read yet. */
interface Arrival {
  readonly socket: Socket;
  readonly kind: SocketKind;
}

export class NbdServer implements ConnectionOwner<NbdConnection> {
  readonly buffers: NbdBuffers;
  readonly exports: NbdExports;
  readonly counters: Float64Array = new Float64Array(COUNTER_COUNT);
  readonly tls: TlsUpgrade | null;
  readonly #peer: (fd: number) => PeerCredentials | null;
  readonly #options: NbdServerOptions;
  readonly #nowMs: () => number;
  readonly #clientCountMax: number;
  readonly #stalledCountMax: number;
  readonly #listeners: Listeners;
  readonly #connections = new Set<NbdConnection>();
  readonly #byExport = new Map<string, number>();
  readonly #held = new HeldConnections();
  /** In the order of stalling. */
  readonly #stalled = new Set<NbdConnection>();
  readonly turns: Turns = new Turns(() => {
    if (this.#isDrained) this.#whenDrained?.();
  });
  /** The flow of all connections that negotiate, and the flow of each export. */
  readonly #negotiating = new Flow(false);
  readonly #flows = new Map<string, Flow>();
  readonly #away = new AwayConnections();
  /** Maximum connections to one export, set by the thread with the listeners; null: this is that thread. */
  #connectionsMax: number | null = null;
  readonly #accepting: AcceptQueue<Arrival>;
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
  readonly #log: ClientLog;

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.exports = options.exports;
    this.#log = new ClientLog(options.log);
    this.tls = options.tls == null ? null : new TlsUpgrade(options.tls);
    this.#peer = options.peer ?? ((): PeerCredentials => ({ pid: process.pid, uid: -1, gid: -1 }));
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
    this.#clientCountMax = options.clientCountMax ?? 1024;
    const { outputBytes = OUTPUT_BYTES_DEFAULT, requestsMax } = options;
    this.#stalledCountMax =
      options.stalledCountMax ?? Math.max(8, Math.floor(STALLED_BYTES_MAX / outputBytes));
    this.buffers = nbdBuffers(
      {
        synchronous: new BioPool(SYNC_BIO_COUNT),
        asynchronous: new BioPool(ASYNC_BIO_COUNT),
      },
      { bytes: outputBytes, ...(requestsMax === undefined ? {} : { requestsMax }) },
    );
    this.#listeners = new Listeners({
      accept: (socket, kind) => this.#accept(socket, kind),
      log: (line) => options.log(`nbd: ${line}`),
    });
    const negotiatingMax = options.negotiatingMax ?? 128;
    this.#accepting = new AcceptQueue({
      negotiatingMax,
      perSecond: options.acceptsPerSecond ?? 200,
      waitingMax: negotiatingMax,
      nowMs: this.#nowMs,
      start: (arrival) => this.#start(arrival),
      refuse: ({ socket }) =>
        this.#refuse(socket, `${negotiatingMax} connections wait to be accepted`),
      endOldest: (beforeMs) =>
        this.#dropOldestNegotiation('other clients wait to negotiate', beforeMs),
    });
  }

  /**
   * Listens on a new Unix socket at `path`; by default only its owner can use it. Throws the system error; the caller adds
   * advice.
   */
  listenUnix(path: string, mode: number = 0o600): Promise<void> {
    this.#startSweeping();
    return this.#listeners.unix(path, mode);
  }

  /**
   * Listens on TCP. Port 0 selects a free port. Throws the system error.
   * @returns the bound address
   */
  listenTcp(host: string, port: number): Promise<{ host: string; port: number }> {
    this.#startSweeping();
    return this.#listeners.tcp(host, port);
  }

  /**
   * Serves a listening socket that another process opened and passed. close() closes the descriptor, but does not remove the
   * file of a Unix socket. Throws the system error.
   */
  listenDescriptor(fd: number, kind: SocketKind): Promise<void> {
    this.#startSweeping();
    return this.#listeners.descriptor(fd, kind);
  }

  /** Number of connections that have this export open. */
  connections(exportName: string): number {
    return (this.#byExport.get(exportName) ?? 0) + (this.#away.byExport.get(exportName) ?? 0);
  }

  get stats(): NbdStats {
    return {
      connectionCount: this.#connections.size + this.#away.count,
      connectionsByExport: new Map([...this.#byExport, ...this.#away.byExport]),
      accepted: this.#accepted,
      refused: this.#refused,
      dropped: this.#dropped,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      tls: this.tls?.stats ?? null,
      counters: this.counters.slice(),
    };
  }

  /** Uses other TLS credentials, of the same kind, for new connections. @throws an error of node:tls */
  reloadTls(credentials: TlsCredentials): void {
    this.tls?.reload(credentials);
  }

  /** Number of connections that have this export open and are not in the list. */
  outsiders(exportName: string, allowed: AccessList): number {
    return this.#outsiders(exportName, allowed).length;
  }

  #outsiders(exportName: string, allowed: AccessList): NbdConnection[] {
    return [...this.#connections].filter(
      ({ session, user }) => session.export?.name === exportName && !isAllowed(allowed, user),
    );
  }

  /**
   * Disconnects the clients of an export. Returns the number of connections.
   * @param allowed clients in this list stay; default: none
   */
  disconnect(exportName: string, allowed?: AccessList): number {
    const outsiders = this.#outsiders(exportName, allowed ?? { uids: [], gids: [] });
    const why = allowed === undefined ? 'export removed' : 'no longer allowed to use the export';
    for (const connection of outsiders) connection.drop(why);
    return outsiders.length;
  }

  /**
   * Stops accepting, waits for requests in progress, then ends all connections. Requests that wait get no reply. Afterwards no bio is in flight and no disk
   * is ticked, unless a disk did not finish within closeMs. Safe to call twice.
   */
  async close(): Promise<void> {
    if (!this.#isClosing) {
      this.#isClosing = true;
      this.#listeners.close();
      this.#accepting.dispose();
      for (const connection of this.#connections) {
        this.#held.forget(connection);
        connection.shutDown();
      }
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
    this.turns.clear();
    this.#stopSweeping();
  }

  /** If a connection is closed while its disk has bios in flight, it stays in the queue until they have ended. */
  get #isDrained(): boolean {
    return this.#connections.size === 0 && (this.turns.waitingCount === 0 || this.#isTimedOut);
  }

  hasHungUp({ descriptor }: NbdConnection): boolean {
    return this.#options.hasHungUp?.(descriptor) === true;
  }

  hold(connection: NbdConnection, waitMs: number): void {
    this.#held.hold(connection, waitMs);
  }

  /** Serves the connections that the gate of an export held, after a thaw or a change of the rate. */
  resume(exportName: string): void {
    this.#held.resume(exportName);
  }

  outputKept(): void {
    this.buffers.replaceOutput();
  }

  stalled(connection: NbdConnection): void {
    this.#stalled.add(connection);
    if (this.#stalled.size <= this.#stalledCountMax) return;
    for (const longest of this.#stalled) {
      this.#stalled.delete(longest); // its socket closes a little later
      longest.drop(DOES_NOT_READ);
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

  secured(connection: NbdConnection, about: string): void {
    this.#options.trace?.(`nbd: ${connection.peer}: ${about}`);
  }

  negotiated(connection: NbdConnection): void {
    const name = connection.session.export?.name ?? '';
    this.#byExport.set(name, (this.#byExport.get(name) ?? 0) + 1);
    connection.flow = this.#flowOf(name);
    if (this.#connectionsMax === null) this.#accepting.ended();
    this.#options.visits?.opened(connection.id, name);
    this.#options.trace?.(`nbd: ${connection.peer}: opened '${name}'`);
    if (this.connections(name) > (this.#connectionsMax ?? this.#clientsOfExportMax()))
      connection.drop(
        'too many connections to this export; the rest are reserved for other exports',
      );
  }

  #flowOf(exportName: string): Flow {
    const flow = this.#flows.get(exportName) ?? new Flow();
    this.#flows.set(exportName, flow);
    return flow;
  }

  #clientsOfExportMax(): number {
    const exports = [...this.#options.exports.values()].length;
    const reserved = Math.min(RESERVED_PER_EXPORT, Math.floor(this.#clientCountMax / exports));
    return this.#clientCountMax - (exports - 1) * reserved;
  }

  refusalOf(connection: NbdConnection, requested: NbdExport): string | null {
    for (const other of this.#connections)
      if (other.session.export?.disk === requested.disk) other.leaveIfGone();
    if (requested.isShared === true) return null;
    for (const other of this.#connections) {
      if (other.session.export?.disk !== requested.disk || other.isClosing) continue;
      if (other.identity.key === connection.identity.key) return null;
      const why = `'${requested.name}' is in use by ${other.identity.text()}`;
      this.#log.line(`nbd: ${connection.peer}: refused: ${why}`);
      return `${why}; serve the disk with shared=on to allow several clients`;
    }
    const busy = requested.whyBusy?.() ?? null;
    if (busy !== null) this.#log.line(`nbd: ${connection.peer}: refused: ${busy}`);
    return busy;
  }

  dropped(connection: NbdConnection, reason: string): void {
    this.#dropped++;
    this.#log.line(`nbd: ${connection.peer}: dropped: ${reason}`);
  }

  #accept(socket: Socket, kind: SocketKind): void {
    this.#accepted++;
    if (this.#isFullNow)
      this.#dropOldestNegotiation('connection limit reached before the client opened an export');
    if (this.#isClosing || this.#isFullNow)
      this.#refuse(socket, `limit of ${this.#clientCountMax} connections reached`);
    else this.#accepting.offer({ socket, kind });
  }

  get #isFullNow(): boolean {
    const open = this.#connections.size + this.#away.count;
    return open + this.#accepting.waitingCount >= this.#clientCountMax;
  }

  #clientOf({ socket, kind }: Arrival): ConnectionClient {
    const shared = { id: this.#accepted, sinceMs: this.#nowMs() };
    if (kind === 'tcp') {
      const { remoteAddress = '?', remotePort = 0 } = socket;
      const identity = addressIdentity(remoteAddress);
      return { ...shared, peer: `${remoteAddress}:${remotePort}`, identity, user: null };
    }
    const user = this.#peer(descriptorOf(socket));
    const identity = processIdentity(user?.pid ?? 0, user?.uid ?? null, this.#accepted);
    return { ...shared, peer: `unix client ${this.#accepted}`, identity, user };
  }

  #start(arrival: Arrival): void {
    const { socket } = arrival;
    this.turns.charge(this.#negotiating, ACCEPT_WORK);
    const connection = new NbdConnection(
      this,
      this.#clientOf(arrival),
      this.#negotiating,
      this.#nowMs,
    );
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

  handOver(connection: NbdConnection): void {
    const { visits = null, duplicate = null } = this.#options;
    const fd = visits === null || duplicate === null ? -1 : duplicate(connection.descriptor);
    if (visits === null || fd === -1) {
      connection.drop('no descriptor is left for its connection');
      return;
    }
    const { id, peer, identity, user, sinceMs, session } = connection;
    this.#connections.delete(connection);
    if (this.#connectionsMax === null) this.#away.left(id);
    visits.handOver(
      {
        ...{ id, fd, peer, user, identity: identityValueOf(identity) },
        ageMs: this.#nowMs() - sinceMs,
        handshake: session.handshakeState,
        connectionsMax: this.#connectionsMax ?? this.#clientsOfExportMax(),
        input: connection.detach(),
      },
      session.handOverTo?.name ?? null,
    );
    if (this.#isDrained) this.#whenDrained?.();
  }

  /**
   * Continues a negotiation of another thread.
   * @param isVisiting this is the thread of a disk; false: the connection has returned to the thread with the listeners
   */
  adopt(handed: HandedOver, isVisiting: boolean): void {
    const { id, fd, handshake, input, connectionsMax } = handed;
    if (isVisiting) this.#connectionsMax = connectionsMax;
    else this.#away.ended(id);
    if (!this.#isClosing) this.#startSweeping();
    const socket = socketOf(fd, this.buffers.received, (count) => connection.received(count));
    const client = clientOf(handed, this.#nowMs());
    const begun = { handshake, isVisiting };
    const connection = new NbdConnection(this, client, this.#negotiating, this.#nowMs, begun);
    this.turns.charge(this.#negotiating, ACCEPT_WORK);
    this.#connections.add(connection);
    socket.once('close', () => this.#closed(connection));
    connection.resume(socket, input);
    if (this.#isClosing) connection.drop('server is shutting down');
  }

  /** Another thread reports that a connection has opened an export. */
  openedAway(id: number, exportName: string): void {
    if (this.#away.opened(id, exportName)) this.#accepting.ended();
  }

  /** Another thread reports that a connection has ended. */
  closedAway(id: number): void {
    if (this.#away.ended(id)) this.#accepting.ended();
    this.#isFull = false;
  }

  /** Drops the negotiation that oldest-negotiation.ts chooses, if it started before `beforeMs`. */
  #dropOldestNegotiation(reason: string, beforeMs = Number.POSITIVE_INFINITY): void {
    const connection = oldestNegotiation(this.#connections);
    if (connection === null || connection.sinceMs > beforeMs) return;
    connection.drop(reason);
    this.#closed(connection);
  }

  #refuse(socket: Socket, reason: string): void {
    this.#refused++;
    if (!this.#isFull && !this.#isClosing) this.#log.line(`nbd: refusing clients: ${reason}`);
    this.#isFull = true;
    socket.on('error', () => {}); // the socket is destroyed
    socket.destroy();
  }

  #closed(connection: NbdConnection): void {
    if (!this.#connections.delete(connection)) return;
    this.#held.forget(connection);
    if (this.#connectionsMax !== null) this.#options.visits?.closed(connection.id);
    else if (!connection.isNegotiated) this.#accepting.ended();
    this.#options.trace?.(`nbd: ${connection.peer}: closed`);
    this.#isFull = false;
    const name = connection.session.export?.name;
    if (connection.isNegotiated && name !== undefined) {
      const left = (this.#byExport.get(name) ?? 1) - 1;
      if (left > 0) this.#byExport.set(name, left);
      else {
        this.#byExport.delete(name);
        this.#flows.delete(name);
      }
    }
    if (this.#isDrained) this.#whenDrained?.();
  }

  /** Drops connections that exceed their time limits. Runs once a second while the server listens. */
  sweep(): void {
    this.#log.sweep();
    const { hasHungUp } = this.#options;
    if (hasHungUp !== undefined) this.#held.dropDeparted(hasHungUp);
    const now = this.#nowMs();
    const timeoutMs = this.#options.negotiationMs ?? 10_000;
    for (const connection of this.#connections) {
      if (now - connection.closingSinceMs > timeoutMs)
        connection.drop('client does not close the connection');
      else if (!connection.isNegotiated && now - connection.sinceMs > timeoutMs)
        connection.drop('negotiation timed out');
      else if (connection.isFlooding) connection.drop('too many TLS messages without data');
    }
  }

  #dropStalled(): void {
    this.#isTimedOut = true;
    for (const connection of this.#connections)
      connection.drop('requests not finished before shutdown');
    if (this.#isDrained) this.#whenDrained?.();
  }

  #startSweeping(): void {
    this.#sweeper ??= setInterval(() => this.sweep(), SWEEP_MS).unref();
  }

  #stopSweeping(): void {
    if (this.#sweeper !== null) clearInterval(this.#sweeper);
    this.#sweeper = null;
  }
}
