/**
 * The vhost-user sockets of the disks of one thread, and one interface to both servers of a disk's clients: the operations on a
 * disk (disk-table.ts) treat a front-end like a client of NBD.
 *
 * A disk can be open through NBD or through vhost-user, but not both unless it is shared. The in-flight area of each front-end
 * has the generation of the contents: a front-end that reconnects to an emptied disk is refused instead of reading zeros.
 */
import type { AccessList } from '../nbd/protocol/exports.ts';
import { type OwnFile, ownFile, removeOwn, vhostUserSocketPath } from '../os/unix-socket.ts';
import type { DiskConfig } from './disk-config.ts';
import type { DiskExports } from './disk-exports.ts';
import { listenAt } from './listen.ts';
import type { FrontEnds, HostParts, Log, NbdFrontEnd, VhostUserFrontEnd } from './parts.ts';

export interface VhostUserSocketsOptions {
  readonly parts: HostParts;
  readonly exports: DiskExports;
  readonly nbd: () => NbdFrontEnd | null;
  /** Permission bits of the sockets. */
  readonly mode: number;
  readonly log: Log;
  readonly trace: Log;
}

interface Socket {
  readonly server: VhostUserFrontEnd;
  readonly file: OwnFile;
}

export class VhostUserSockets implements FrontEnds {
  readonly #options: VhostUserSocketsOptions;
  readonly #sockets = new Map<string, Socket>();

  constructor(options: VhostUserSocketsOptions) {
    this.#options = options;
  }

  /** Listens for a disk that has such a socket. @throws SwapError of the path, ERR_IO_UNSUPPORTED */
  async open({ name, vhostUser: path, isShared }: DiskConfig): Promise<void> {
    if (path === undefined || this.#sockets.has(name)) return; // the disk table refuses the name
    const { parts, exports, nbd, mode, log, trace } = this.#options;
    const server = parts.createVhostUser({
      ...{ name, log, trace },
      exportNow: () => exports.get(name),
      generation: () => exports.generationOf(name),
      nbdClients: () => (isShared ? 0 : (nbd()?.connections(name) ?? 0)),
    });
    await listenAt(vhostUserSocketPath(path), () => server.listen(path, mode));
    this.#sockets.set(name, { server, file: ownFile(path) });
  }

  /** Closes the socket of a disk and disconnects its front-end. */
  close(name: string): void {
    const socket = this.#sockets.get(name);
    if (socket === undefined) return;
    this.#sockets.delete(name);
    socket.server.close();
    removeOwn(socket.file);
  }

  closeAll(): void {
    for (const name of [...this.#sockets.keys()]) this.close(name);
  }

  whyBusy(name: string): string | null {
    const isConnected = this.#sockets.get(name)?.server.isConnected === true;
    return isConnected ? `'${name}' is in use by a guest over vhost-user` : null;
  }

  connections(name: string): number {
    const own = this.#sockets.get(name)?.server.isConnected === true ? 1 : 0;
    return own + (this.#options.nbd()?.connections(name) ?? 0);
  }

  disconnect(name: string, allowed?: AccessList): number {
    const server = this.#sockets.get(name)?.server;
    const isOutside = allowed === undefined || server?.hasOutsider(allowed) === true;
    const own = server?.isConnected === true && isOutside ? 1 : 0;
    if (own === 1)
      server?.disconnect(
        allowed === undefined ? 'the disk is changed or removed' : 'no longer allowed',
      );
    return own + (this.#options.nbd()?.disconnect(name, allowed) ?? 0);
  }

  outsiders(name: string, allowed: AccessList): number {
    const own = this.#sockets.get(name)?.server.hasOutsider(allowed) === true ? 1 : 0;
    return own + (this.#options.nbd()?.outsiders(name, allowed) ?? 0);
  }

  resume(name: string): void {
    this.#sockets.get(name)?.server.resume();
    this.#options.nbd()?.resume(name);
  }
}
