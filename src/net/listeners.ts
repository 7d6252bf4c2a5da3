/** The listening sockets of a server: Unix, TCP, and those that a service manager passes on. */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { listenWithMode } from '../os/unix-socket.ts';

/** TCP keepalive is sent after this idle time. */
const KEEP_ALIVE_MS = 60_000;

export type SocketKind = 'unix' | 'tcp';

export interface ListenersOptions {
  /** Receives each connected socket, paused. */
  readonly accept: (socket: Socket, kind: SocketKind) => void;
  /** Receives a line for an error of a listening socket. */
  readonly log: (line: string) => void;
}

export class Listeners {
  readonly #options: ListenersOptions;
  readonly #servers = new Set<Server>();

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  /** See NbdServer.listenUnix(). */
  async unix(path: string, mode: number): Promise<void> {
    await this.#listen('unix', path, (server) =>
      listenWithMode(path, mode, () => server.listen(path)),
    );
  }

  /** See NbdServer.listenTcp(). */
  async tcp(host: string, port: number): Promise<{ host: string; port: number }> {
    const server = await this.#listen('tcp', `${host}:${port}`, (made) => made.listen(port, host));
    const address = server.address() as AddressInfo;
    return { host: address.address, port: address.port };
  }

  /** See NbdServer.listenDescriptor(). */
  async descriptor(fd: number, kind: SocketKind): Promise<void> {
    await this.#listen(kind, `descriptor ${fd}`, (server) => server.listen({ fd }));
  }

  /** Accepts no more connections. */
  close(): void {
    for (const server of this.#servers) server.close();
  }

  async #listen(
    kind: SocketKind,
    address: string,
    bind: (server: Server) => void,
  ): Promise<Server> {
    const server = createServer({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
      pauseOnConnect: true,
    });
    server.on('connection', (socket) => this.#options.accept(socket, kind));
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.once('listening', resolve);
        bind(server);
      });
    } catch (error) {
      server.close();
      throw error;
    }
    server.on('error', (error) => this.#options.log(`${address}: ${error.message}`));
    this.#servers.add(server);
    return server;
  }
}
