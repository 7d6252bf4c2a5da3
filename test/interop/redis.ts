/** redis-server as a child of a test: a private Unix socket, a loopback port, no persistence. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../src/base/clock.ts';
import { type StreamAddress, streamSockets } from '../../src/os/linux/stream-socket.ts';
import type { OpenStream } from '../../src/remote/ops.ts';
import { type Child, must, startServer, TemporaryFolder } from './processes.ts';

export const redisTools: readonly string[] = ['redis-server', 'redis-cli'];

/** Real time plus an offset set by tests. */
export class WallClock implements Clock {
  aheadMs = 0;
  nowNs(): number {
    return Math.floor((performance.now() + this.aheadMs) * 1e6);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** A connection to `address`. */
export function way(address: StreamAddress): OpenStream {
  const open = streamSockets(process.platform);
  if (open === null) throw new Error('no blocking sockets here');
  return (memory, timeoutMs) => open(address, memory, timeoutMs);
}

export class Redis implements AsyncDisposable {
  readonly #folder = new TemporaryFolder();
  readonly #options: readonly string[];
  readonly #port: number;
  #child: Child | null = null;

  static async start(...options: readonly string[]): Promise<Redis> {
    const redis = new Redis(await freePort(), options);
    await redis.start();
    return redis;
  }

  private constructor(port: number, options: readonly string[]) {
    this.#port = port;
    this.#options = options;
  }

  get unix(): StreamAddress {
    return { path: this.#folder.file('redis.sock') };
  }

  get tcp(): StreamAddress {
    return { host: '127.0.0.1', port: this.#port };
  }

  /** Starts it, also again and empty after kill(). */
  async start(): Promise<void> {
    const path = this.#folder.file('redis.sock');
    const args = [
      ...['--port', String(this.#port), '--bind', '127.0.0.1'],
      ...['--unixsocket', path, '--unixsocketperm', '700'],
      ...['--save', '', '--appendonly', 'no', '--dir', this.#folder.path],
      ...['--logfile', this.#folder.file('log'), ...this.#options],
    ];
    this.#child = await startServer('redis-server', args, path);
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    process.kill(this.#child!.pid, name);
  }

  /** Sends SIGKILL and waits for the end of the process. */
  async kill(): Promise<void> {
    process.kill(this.#child!.pid, 'SIGKILL');
    while (this.#child!.isRunning()) await sleep(5);
  }

  /** Runs redis-cli. Returns its output. */
  async ask(...words: readonly string[]): Promise<string> {
    const path = this.#folder.file('redis.sock');
    return (await must('redis-cli', ['-s', path, ...words])).trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child?.isRunning()) {
      this.signal('SIGCONT');
      await this.#child.stop();
    }
    this.#folder[Symbol.dispose]();
  }
}
