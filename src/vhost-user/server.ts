/**
 * The vhost-user socket of one disk: accepts one front-end at a time.
 *
 *   listener (node:net) ─ accept ─ identity, access, one client ─▶ Connection, with a duplicate of the descriptor
 *
 * Node cannot receive descriptors from a socket. So the accepted socket stays paused, its descriptor is duplicated, and Node's
 * handle is closed before it has read anything.
 *
 * Invariants
 * - A second front-end is disconnected immediately, unless the first one has disconnected.
 * - After close() nothing is served, and every descriptor is closed.
 * - All connections use one DescriptorWatch: io_destroy(2) waits about 35 ms, and a client that connects again and again would stop
 *   the thread for that long each time.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { SwapError } from '../base/errors.ts';
import type { AccessList, RequestGate } from '../nbd/protocol/exports.ts';
import { type ClientUser, isAllowed } from '../nbd/server/visible-exports.ts';
import { DescriptorWatch } from '../os/linux/descriptor-watch.ts';
import { systemDuplicate } from '../os/linux/descriptors.ts';
import { systemHasHungUp } from '../os/linux/hang-up.ts';
import { systemPeerCredentials } from '../os/linux/peer-credentials.ts';
import { processText } from '../os/linux/process-name.ts';
import { type Linux, loadLinux } from '../os/linux/system-call.ts';
import { descriptorOf } from '../os/socket.ts';
import { listenWithMode } from '../os/unix-socket.ts';
import type { BlockDevice } from '../virtio/block-device.ts';
import { BackEnd } from './back-end.ts';
import { Connection, WATCHED_MAX } from './connection.ts';

/** The disk for a front-end that connects now. */
export interface VhostUserExport {
  readonly access: AccessList | null;
  readonly gate: RequestGate | null;
  /** Identifies the contents of the disk. */
  readonly generation: string;
  /** Why the disk may not be opened; null: it may. */
  readonly busy: string | null;
  /** @param onIdle must be called when a request in flight has ended */
  createDevice(onIdle: () => void): BlockDevice;
}

export interface VhostUserStats {
  readonly accepted: number;
  readonly refused: number;
  /** Connections that ended with an error. */
  readonly dropped: number;
  /** Refused messages, and queues that were stopped because their driver broke the rules. */
  readonly faults: number;
  /** The connected front-end, as text; null: none. */
  readonly frontEnd: string | null;
  /** Size of its guest's memory, bytes. */
  readonly memoryBytes: number;
}

export interface VhostUserServerOptions {
  /** Name of the disk. */
  readonly name: string;
  /** Null if the disk is being removed. */
  readonly exportNow: () => VhostUserExport | null;
  readonly log: (line: string) => void;
  /** Receives a line for each connection that begins or ends. */
  readonly trace: (line: string) => void;
}

/** Backlog of the listener. */
const BACKLOG = 8;

interface Client {
  readonly connection: Connection;
  readonly fd: number;
  readonly text: string;
  readonly uid: number;
  readonly gid: number;
}

export class VhostUserServer {
  readonly #linux: Linux;
  readonly #options: VhostUserServerOptions;
  readonly #duplicate: (fd: number) => number;
  readonly #peer = systemPeerCredentials(process.platform);
  readonly #hasHungUp = systemHasHungUp(process.platform);
  readonly #server: Server;
  /** From the first connection on. */
  #watch: DescriptorWatch | null = null;
  #client: Client | null = null;
  #accepted = 0;
  #refused = 0;
  #dropped = 0;
  #faults = 0;

  /** @throws SwapError ERR_IO_UNSUPPORTED */
  constructor(options: VhostUserServerOptions) {
    const { linux, reason } = loadLinux();
    const duplicate = systemDuplicate(process.platform);
    if (linux === null || duplicate === null)
      throw new SwapError('ERR_IO_UNSUPPORTED', `vhost-user is not supported here: ${reason}`, {
        reason,
      });
    this.#linux = linux;
    this.#duplicate = duplicate;
    this.#options = options;
    this.#server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket));
  }

  /** Listens on a Unix socket. @param mode its permission bits */
  listen(path: string, mode: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.once('listening', () => {
        this.#server.off('error', reject);
        this.#server.on('error', (error) => this.#log(`listener: ${error.message}`));
        resolve();
      });
      listenWithMode(path, mode, () => this.#server.listen({ path, backlog: BACKLOG }));
    });
  }

  get isConnected(): boolean {
    return this.#client !== null;
  }

  get stats(): VhostUserStats {
    return {
      accepted: this.#accepted,
      refused: this.#refused,
      dropped: this.#dropped,
      faults: this.#faults,
      frontEnd: this.#client?.text ?? null,
      memoryBytes: this.#client?.connection.backEnd.memoryBytes ?? 0,
    };
  }

  /** Whether a front-end is connected that is not in the list. */
  hasOutsider(allowed: AccessList): boolean {
    return this.#client !== null && !isAllowed(allowed, this.#client);
  }

  /** Disconnects the front-end. */
  disconnect(why: string): void {
    this.#client?.connection.end(why);
  }

  /** Serves requests that were delayed. */
  resume(): void {
    this.#client?.connection.resume();
  }

  close(): void {
    this.#server.close();
    this.#client?.connection.end(null);
    this.#watch?.[Symbol.dispose]();
    this.#watch = null;
  }

  #accept(socket: Socket): void {
    const fd = this.#duplicate(descriptorOf(socket));
    socket.on('error', () => undefined);
    socket.destroy();
    if (fd === -1) {
      this.#refuse('no descriptor is left');
      return;
    }
    const user = this.#peer(fd);
    const text = (user === null ? null : processText(user.pid)) ?? 'a process that is not visible';
    const served = this.#options.exportNow();
    const why = served === null ? 'the disk is being removed' : this.#whyNot(served, user);
    if (served === null || why !== null) {
      this.#linux.close(fd);
      this.#refuse(`${text}: ${why}`);
      return;
    }
    this.#open(served, fd, text, user ?? { uid: -1, gid: -1 });
  }

  #whyNot({ access, busy }: VhostUserExport, user: ClientUser): string | null {
    if (!isAllowed(access, user)) return 'it is not in allow-uid or allow-gid';
    if (this.#client !== null && this.#hasHungUp(this.#client.fd))
      this.#client.connection.end(null);
    if (this.#client !== null) return `the disk is in use by ${this.#client.text}`;
    return busy;
  }

  #open(
    served: VhostUserExport,
    fd: number,
    text: string,
    { uid, gid }: NonNullable<ClientUser>,
  ): void {
    let faults = 0;
    const fault = (why: string): void => {
      this.#faults++;
      if (++faults <= FAULTS_LOGGED) this.#log(`${text}: ${why}`);
    };
    let connection: Connection;
    try {
      this.#watch ??= new DescriptorWatch(this.#linux, WATCHED_MAX, () =>
        this.#client?.connection.turn(),
      );
      const watch = this.#watch;
      connection = new Connection({
        ...{ linux: this.#linux, fd, watch },
        createBackEnd: (onIdle, serveAfter) =>
          new BackEnd({
            ...{ linux: this.#linux, watch, serveAfter },
            ...{ gate: served.gate, generation: served.generation },
            device: served.createDevice(onIdle),
            onFault: fault,
          }),
        onRefused: fault,
        onEnd: (why) => {
          this.#client = null;
          if (why !== null) {
            this.#dropped++;
            this.#log(`${text}: disconnected: ${why}`);
          } else this.#trace(`${text}: closed`);
        },
      });
    } catch (error) {
      this.#linux.close(fd);
      if (!(error instanceof SwapError)) throw error;
      this.#refuse(`${text}: ${error.message}`);
      return;
    }
    this.#accepted++;
    this.#client = { connection, fd, text, uid, gid };
    this.#trace(`${text}: connected`);
  }

  #refuse(why: string): void {
    this.#refused++;
    this.#log(`refused: ${why}`);
  }

  #log(line: string): void {
    this.#options.log(`vhost-user '${this.#options.name}': ${line}`);
  }

  #trace(line: string): void {
    this.#options.trace(`vhost-user '${this.#options.name}': ${line}`);
  }
}

/** Maximum number of faults logged per connection, because a hostile front-end could fill the log. */
const FAULTS_LOGGED = 8;
