/** A real server on a Unix socket and clients that send and receive bytes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type NetConnectOpts, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { Duplex } from 'node:stream';
import { after } from 'node:test';
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Command, Option, OptionReply } from '../../../src/nbd/protocol/wire.ts';
import { NbdServer } from '../../../src/nbd/server/server.ts';
import type { NbdServerOptions } from '../../../src/nbd/server/server-options.ts';
import { clientFlags, infoData, join, option, request } from '../../support/fixtures/nbd-client.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(joinPath(tmpdir(), 'nbd-server-'));
after(() => rmSync(folder, { recursive: true, force: true }));
let paths = 0;
export const newPath = (): string => joinPath(folder, `${paths++}.sock`);

/** A watchdog: how long a client waits for the server before its test fails. */
const watchdogMs = 60_000;

/** A client that reads when the test asks it to. */
export class Client {
  readonly socket: Socket;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #wake: () => void = () => {};
  ended = false;

  /** @param to an address, or a connected socket */
  constructor(to: NetConnectOpts | Socket) {
    this.socket = to instanceof Socket ? to : connect(to);
    this.socket.on('data', (chunk) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      this.#wake();
    });
    const end = (): void => {
      this.ended = true;
      this.#wake();
    };
    this.socket.on('close', end);
    this.socket.on('error', end);
  }

  say(...parts: Uint8Array[]): void {
    this.socket.write(join(...parts));
  }

  /** The next `count` bytes; fewer only after the server disconnected. */
  async hear(count: number): Promise<Buffer> {
    while (this.#bytes < count && !this.ended) await this.#next();
    const have = Buffer.concat(this.#chunks);
    const got = have.subarray(0, count);
    this.#chunks = [have.subarray(got.length)];
    this.#bytes -= got.length;
    return got;
  }

  async hangUp(): Promise<void> {
    while (!this.ended) await this.#next();
  }

  /** Completes the handshake, with simple replies. */
  async go(name = 'disk'): Promise<this> {
    await this.hear(18);
    this.say(clientFlags(), option(Option.go, infoData(name)));
    await this.hear(20 + 12 + 20);
    return this;
  }

  async flush(): Promise<number> {
    this.say(request({ type: Command.flush }));
    const reply = await this.hear(16);
    return reply.length === 16 ? reply.readUInt32BE(4) : -1;
  }

  /** Waits for more bytes or the end of the connection. */
  async #next(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const watchdog = setTimeout(() => reject(new Error('the server is silent')), watchdogMs);
      this.#wake = () => {
        clearTimeout(watchdog);
        resolve();
      };
    });
  }
}

/**
 * Sends STARTTLS and completes the TLS handshake. Rejects if either fails.
 * @param through wraps the plain socket
 */
export async function secure(
  plain: Client,
  options: ConnectionOptions,
  through: (socket: Socket) => Duplex = (socket) => socket,
): Promise<Client> {
  await plain.hear(18);
  plain.say(clientFlags(), option(Option.startTls));
  const reply = await plain.hear(20);
  assert.equal(reply.length === 20 ? reply.readUInt32BE(12) : -1, OptionReply.ack);
  plain.socket.removeAllListeners('data');
  const socket = tlsConnect({ socket: through(plain.socket), ...options });
  await once(socket, 'secureConnect');
  return new Client(socket);
}

export interface Rig {
  readonly server: NbdServer;
  readonly path: string;
  readonly log: string[];
  readonly client: () => Client;
}

export async function rig(
  options: Partial<NbdServerOptions>,
  body: (rig: Rig) => Promise<void>,
): Promise<void> {
  const log: string[] = [];
  const disk = new MemoryDisk(64 * MIB);
  const exports = new Map([['disk', { name: 'disk', description: '', disk }]]);
  const server = new NbdServer({ exports, log: (line) => log.push(line), ...options });
  const path = newPath();
  await server.listenUnix(path);
  const clients: Client[] = [];
  const client = (): Client => {
    const made = new Client({ path });
    clients.push(made);
    return made;
  };
  try {
    await body({ server, path, log, client });
  } finally {
    for (const made of clients) made.socket.destroy();
    await server.close();
  }
}
