/**
 * The tmem socket: pools for other processes on this machine over a Unix socket, in one thread.
 *
 * Limits: `clientsMax` connections, 64 for each user; STALLED_MAX outputs of clients that do not read (drops the one
 * that stalled first, of the user with the most); HELLO_MS until the hello. Each user has a flow (net/turns.ts). Pages
 * of pools that end are dropped in steps, between events.
 */
import type { Socket } from 'node:net';
import { SocketBuffers } from '../../net/buffers.ts';
import { Listeners } from '../../net/listeners.ts';
import { Flow, Turns } from '../../net/turns.ts';
import type { DirectIo } from '../../os/linux/direct-io.ts';
import type { PeerCredentials } from '../../os/linux/peer-credentials.ts';
import { descriptorOf, withSharedBuffer } from '../../os/socket.ts';
import { REQUEST_PART_BYTES_MAX } from '../protocol/wire.ts';
import type { Tmem } from '../tmem.ts';
import { BusyReader } from './busy-reader.ts';
import { ClientTable, CONNECTIONS_PER_USER, type TmemUser } from './client-table.ts';
import { TmemConnection, type TmemOwner } from './connection.ts';
import { SocketOutput } from './socket-output.ts';

/** Outputs of clients with unread replies: 16 MiB. */
const STALLED_MAX = 64;
const HELLO_MS = 10_000;
const SWEEP_MS = 1000;
const LINES_PER_SWEEP = 100;
/** Work of accepting a connection, see nbd/protocol/work.ts. */
const ACCEPT_WORK = 131072;
/** The uid that represents all users that the user namespace does not map. */
const OVERFLOW_UID = 65534;

export interface TmemServerOptions {
  readonly tmem: Tmem;
  /** The users and groups that may connect; null: all that the socket's mode admits. */
  readonly access: { readonly uids: readonly number[]; readonly gids: readonly number[] } | null;
  /** Cap of users without a cap of their own, pages; 0: none. */
  readonly cap: number;
  /** Maximum number of connections. */
  readonly clientsMax: number;
  /** The peer of a connected socket, by file descriptor; null: unknown. */
  readonly peer: (fd: number) => PeerCredentials | null;
  readonly hasHungUp: (fd: number) => boolean;
  /** Receives a line, without newline, for each connection that is dropped or refused. */
  readonly log: (line: string) => void;
  /** Monotonic clock, ms. */
  readonly nowMs?: () => number;
  /** Null or absent: all bytes go through Node's streams. */
  readonly directIo?: DirectIo | null;
  /** False: use 'data' events instead of the shared buffer. */
  readonly sharedBuffer?: boolean;
}

/** Traffic since the start. */
export interface TmemServerStats {
  readonly connections: number;
  readonly accepted: number;
  readonly refused: number;
  readonly dropped: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export class TmemServer implements TmemOwner {
  readonly clients: ClientTable;
  readonly buffers: SocketBuffers<SocketOutput>;
  readonly busyReader: BusyReader | null;
  readonly turns: Turns = new Turns(() => {});
  readonly #options: TmemServerOptions;
  readonly #nowMs: () => number;
  readonly #listeners: Listeners;
  readonly #connections = new Set<TmemConnection>();
  readonly #stalled = new Set<TmemConnection>();
  readonly #flows = new Map<number, Flow>();
  #sweeper: NodeJS.Timeout | null = null;
  #isDropping = false;
  #isClosing = false;
  #accepted = 0;
  #refused = 0;
  #dropped = 0;
  #bytesIn = 0;
  #bytesOut = 0;
  #linesLeft = LINES_PER_SWEEP;
  #whenClosed: (() => void) | null = null;

  constructor(options: TmemServerOptions) {
    this.#options = options;
    const { directIo: io = null } = options;
    this.buffers = new SocketBuffers(REQUEST_PART_BYTES_MAX, () => new SocketOutput(io));
    this.busyReader =
      io === null ? null : new BusyReader(io.receiver(this.buffers.received), io.busyPoll);
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
    this.clients = new ClientTable({
      tmem: options.tmem,
      nowMs: this.#nowMs,
      cap: options.cap,
      onDoomed: () => this.#startDropping(),
    });
    this.#listeners = new Listeners({
      accept: (socket) => this.#accept(socket),
      log: (line) => this.#log(line),
    });
  }

  /** Listens on a new Unix socket. Throws the system error. */
  async listen(path: string, mode: number): Promise<void> {
    this.#sweeper ??= setInterval(() => this.sweep(), SWEEP_MS).unref();
    await this.#listeners.unix(path, mode);
  }

  get stats(): TmemServerStats {
    return {
      connections: this.#connections.size,
      accepted: this.#accepted,
      refused: this.#refused,
      dropped: this.#dropped,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    };
  }

  /** Ends all connections. Safe to call twice. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#listeners.close();
    for (const connection of this.#connections) connection.shutDown();
    if (this.#connections.size > 0) {
      const timeout = setTimeout(() => {
        for (const connection of this.#connections) connection.drop('the host is stopping');
      }, 1000);
      await new Promise<void>((resolve) => {
        this.#whenClosed = resolve;
      });
      clearTimeout(timeout);
    }
    this.turns.clear();
    if (this.#sweeper !== null) clearInterval(this.#sweeper);
    this.#sweeper = null;
  }

  hasHungUp(descriptor: number): boolean {
    return this.#options.hasHungUp(descriptor);
  }

  stalled(connection: TmemConnection): void {
    this.buffers.replaceOutput();
    this.#stalled.add(connection);
    if (this.#stalled.size <= STALLED_MAX) return;
    const longest = this.#longestStalled();
    this.#stalled.delete(longest);
    longest.drop('client does not read its replies');
  }

  drained(connection: TmemConnection): void {
    this.#stalled.delete(connection);
  }

  moved(inBytes: number, outBytes: number): void {
    this.#bytesIn += inBytes;
    this.#bytesOut += outBytes;
    this.clients.maintain();
  }

  dropped(connection: TmemConnection, reason: string): void {
    this.#dropped++;
    this.#log(`${connection.peer}: dropped: ${reason}`);
  }

  /** Runs once a second while the server listens. */
  sweep(): void {
    this.#linesLeft = LINES_PER_SWEEP;
    this.clients.expire();
    const now = this.#nowMs();
    for (const connection of this.#connections)
      if (!connection.session.hasGreeted && now - connection.sinceMs > HELLO_MS)
        connection.drop('no hello');
    this.clients.tmem.maintain();
  }

  /** The connection that stalled first, of the user with the most stalled ones: users cannot get others' dropped. */
  #longestStalled(): TmemConnection {
    const counts = new Map<TmemUser, number>();
    for (const { pools } of this.#stalled)
      counts.set(pools.user, (counts.get(pools.user) ?? 0) + 1);
    const most = Math.max(...counts.values());
    return [...this.#stalled].find(({ pools }) => counts.get(pools.user) === most)!;
  }

  #accept(socket: Socket): void {
    this.#accepted++;
    const peer = this.#options.peer(descriptorOf(socket));
    const refusal = this.#whyRefused(peer);
    const user = refusal === '' && peer !== null ? this.clients.user(peer.uid) : null;
    if (peer === null || user === null) {
      this.#refuse(socket, refusal === '' ? 'too many users' : refusal);
      return;
    }
    this.#start(socket, peer, user);
  }

  #whyRefused(peer: PeerCredentials | null): string {
    const { access, clientsMax } = this.#options;
    if (this.#isClosing) return 'the host is stopping';
    if (this.#connections.size >= clientsMax) return `limit of ${clientsMax} connections reached`;
    if (peer === null) return 'the user of the client is unknown';
    const { uid, gid } = peer;
    if (access !== null && !access.uids.includes(uid) && !access.gids.includes(gid))
      return `user ${uid} is not allowed`;
    const why = this.whyNeverAdmitted(uid);
    if (why !== '') return why;
    const user = this.clients.find(uid);
    if (user?.isRestoring === true) return `the pools of user ${uid} are being restored`;
    const open = user?.connections ?? 0;
    return open >= CONNECTIONS_PER_USER ? `user ${uid} has ${open} connections` : '';
  }

  /** Why no process of the user can ever connect; '': one may, depending on its group. */
  whyNeverAdmitted(uid: number): string {
    const { access } = this.#options;
    const isNamed = access?.uids.includes(uid) === true;
    if (access !== null && !isNamed && access.gids.length === 0)
      return `user ${uid} is not allowed`;
    return uid === OVERFLOW_UID && !isNamed ? `user ${uid} may stand for several users` : '';
  }

  #start(socket: Socket, { pid, uid }: PeerCredentials, user: TmemUser): void {
    const flow = this.#flows.get(uid) ?? new Flow();
    this.#flows.set(uid, flow);
    this.turns.charge(flow, ACCEPT_WORK);
    const name = `process ${pid} of user ${uid}`;
    const pools = this.clients.connect(user);
    const connection = new TmemConnection(this, name, pools, flow, this.#nowMs());
    this.#connections.add(connection);
    const shared =
      this.#options.sharedBuffer === false
        ? null
        : withSharedBuffer(socket, this.buffers.received, (n) => connection.receivedByEvent(n));
    const used = shared ?? socket;
    connection.open(used);
    used.once('close', () => this.#closed(connection));
    if (shared === null) socket.on('data', (chunk: Uint8Array) => connection.receivedChunk(chunk));
    used.resume();
  }

  #closed(connection: TmemConnection): void {
    this.#connections.delete(connection);
    const { uid, connections } = connection.pools.user;
    if (connections === 0) this.#flows.delete(uid);
    if (this.#connections.size === 0) this.#whenClosed?.();
  }

  #refuse(socket: Socket, reason: string): void {
    this.#refused++;
    this.#log(`refused a client: ${reason}`);
    socket.on('error', () => {}); // the socket is destroyed
    socket.destroy();
  }

  /** Clients can cause a line per connection, so at most LINES_PER_SWEEP lines are logged per sweep. */
  #log(line: string): void {
    if (this.#linesLeft-- > 0) this.#options.log(`tmem: ${line}`);
  }

  #startDropping(): void {
    if (this.#isDropping) return;
    this.#isDropping = true;
    setImmediate(this.#dropSome);
  }

  readonly #dropSome = (): void => {
    this.#isDropping = this.clients.step();
    if (this.#isDropping) setImmediate(this.#dropSome);
  };
}
