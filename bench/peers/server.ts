/** NBD servers under test: our host and nbdkit, started the same way; processor time and memory come from /proc. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
/** A tick of /proc/PID/stat, ns: USER_HZ is 100 on all current Linux ports. */
const TICK_NS = 1e7;

export interface ServerKind {
  readonly name: string;
  readonly exportName: string;
  readonly command: (socket: string, sizeMiB: number) => readonly string[];
}

export const frontswap: ServerKind = {
  name: 'frontswap',
  exportName: 'swap0',
  command: (socket, sizeMiB) => [
    process.execPath,
    join(root, 'build/src/cli/main.js'),
    ...['host', '--no-control', '-U', socket, '--disk', `swap0=${sizeMiB}M`],
  ],
};

const nbdkit = (allocator: string): ServerKind => ({
  name: `nbdkit ${allocator}`,
  exportName: '',
  command: (socket, sizeMiB) => [
    ...['nbdkit', '-f', '-U', socket, 'memory', `${sizeMiB}M`, `allocator=${allocator}`],
  ],
});
export const nbdkitSparse: ServerKind = nbdkit('sparse');
export const nbdkitMalloc: ServerKind = nbdkit('malloc');
export const nbdkitZstd: ServerKind = nbdkit('zstd');

export function installed(tool: string, env: NodeJS.ProcessEnv = process.env): boolean {
  try {
    execFileSync('which', [tool], { env, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export class Server implements AsyncDisposable {
  readonly uri: string;
  readonly socket: string;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(child: ChildProcess, folder: string, socket: string, exportName: string) {
    this.#child = child;
    this.#folder = folder;
    this.socket = socket;
    this.pid = child.pid!;
    this.uri = `nbd+unix:///${exportName}?socket=${socket}`;
  }

  /** Starts a server, pinned to processor `cpu` if given, and waits for its socket. */
  static async start(kind: ServerKind, sizeMiB: number, cpu?: number): Promise<Server> {
    const folder = mkdtempSync(join(tmpdir(), 'frontswap-bench-'));
    const socket = join(folder, 'nbd.sock');
    const pin = cpu === undefined ? [] : ['taskset', '-c', String(cpu)];
    const [command, ...args] = [...pin, ...kind.command(socket, sizeMiB)];
    const child = spawn(command!, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    for (let waited = 0; !existsSync(socket); waited++) {
      if (waited > 500 || child.exitCode !== null) throw new Error(`${kind.name} did not start`);
      await new Promise((r) => setTimeout(r, 20));
    }
    await new Promise((r) => setTimeout(r, 200));
    return new Server(child, folder, socket, kind.exportName);
  }

  /** Processor time so far, ns; resolution 10 ms. */
  cpuNs(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_NS;
  }

  rssBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) {
      const ended = new Promise((r) => this.#child.once('exit', r));
      this.#child.kill();
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
