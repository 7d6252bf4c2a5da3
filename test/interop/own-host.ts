/**
 * A host process, started as a user starts it: `frontswap host -U PATH --disk ... --control PATH`, with the statistics of
 * its control socket (the document of `frontswap list --json`).
 */
import assert from 'node:assert/strict';
import { type Agent, get, Agent as HttpAgent } from 'node:http';
import { join } from 'node:path';
import { type Child, must, nbdUri, root, startServer, TemporaryFolder } from './processes.ts';

const mainPath: string = join(root, 'build', 'src', 'cli', 'main.js');

/** One row of the list document; only the fields that tests use. */
export interface DiskFigures {
  /** Clients that have the disk open. */
  readonly connections: number;
  readonly name: string;
  readonly diskSizeBytes: number;
  readonly storedPages: number;
  readonly dataBytes: number;
  readonly compressedBytes: number;
  /** Memory used by the disk, metadata included. */
  readonly usedBytes: number;
  readonly limitBytes: number;
  readonly backingBytes: number;
  /** Where it is served, under the name of its generation. */
  readonly uris: readonly string[];
}

export interface HostOptions {
  /** `--disk` values; the first one is the default of `figures()`. */
  readonly disks?: readonly string[];
  /** Further arguments of `frontswap host`. */
  readonly arguments?: readonly string[];
  readonly socketPath?: string;
  readonly controlPath?: string;
  readonly cpu?: number;
}

const answerBytesMax = 1 << 20;

/** A running `frontswap host`. Dispose with `await using` or `stop()`. */
export class OwnHost implements AsyncDisposable {
  readonly socketPath: string;
  readonly folder: TemporaryFolder;
  readonly #child: Child;
  readonly #controlPath: string;
  readonly #agent: Agent = new HttpAgent({ keepAlive: true, maxSockets: 1 });
  readonly #name: string;

  static async start(options: HostOptions = {}): Promise<OwnHost> {
    const folder = new TemporaryFolder();
    const disks = options.disks ?? ['swap0=256M'];
    const socketPath = options.socketPath ?? folder.file('nbd.sock');
    const control = options.controlPath ?? folder.file('control.sock');
    const child = await startServer(
      process.execPath,
      [
        ...[mainPath, 'host', '-U', socketPath, '--control', control],
        ...disks.flatMap((disk) => ['--disk', disk]),
        ...(options.arguments ?? []),
      ],
      control, // it is the last one to listen
      options.cpu,
    ).catch((error: unknown) => {
      folder[Symbol.dispose]();
      throw error;
    });
    return new OwnHost(child, folder, socketPath, control, disks[0]?.split('=')[0] ?? '');
  }

  private constructor(
    child: Child,
    folder: TemporaryFolder,
    socketPath: string,
    controlPath: string,
    name: string,
  ) {
    this.#child = child;
    this.folder = folder;
    this.socketPath = socketPath;
    this.#controlPath = controlPath;
    this.#name = name;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#child.isRunning();
  }

  /** The log of the host, from stderr. */
  get log(): string {
    return this.#child.stderr();
  }

  uri(name: string = this.#name): string {
    return nbdUri(name, this.socketPath);
  }

  /** The statistics of one disk, from the control socket. Cost: about 1 ms of the host's time. */
  async figures(name: string = this.#name): Promise<DiskFigures> {
    const document = JSON.parse(await this.#control('/v1/disks')) as { disks: DiskFigures[] };
    const found = document.disks.find((disk) => disk.name === name);
    assert(found !== undefined, `no disk '${name}' in the list document`);
    return found;
  }

  /** NAME@GENERATION of a disk, as `frontswap list` and `attach` print it. */
  async exportNow(name: string = this.#name): Promise<string> {
    const [uri = ''] = (await this.figures(name)).uris;
    return decodeURIComponent(new URL(uri).pathname.slice(1));
  }

  /** The output of `frontswap attach --format qemu` for a disk, as arguments. */
  async qemuArguments(name: string = this.#name): Promise<string[]> {
    const attach = [mainPath, 'attach', name, '--format', 'qemu', '--control', this.#controlPath];
    const text = (await must(process.execPath, attach)).replace(/^#.*$/gm, '');
    return text.replaceAll("'", '').replaceAll('\\\n', ' ').trim().split(/\s+/);
  }

  #control(path: string): Promise<string> {
    return new Promise((done, fail) => {
      const request = get(
        { socketPath: this.#controlPath, path, agent: this.#agent, timeout: 10_000 },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (part: string) => {
            text += part;
            if (text.length > answerBytesMax) response.destroy(new Error('list document too long'));
          });
          response.on('error', fail);
          response.on('end', () => {
            if (response.statusCode === 200) done(text);
            else fail(new Error(`GET ${path}: status ${response.statusCode}\n${text}`));
          });
        },
      );
      request.on('timeout', () => request.destroy(new Error(`GET ${path}: no answer in 10 s`)));
      request.on('error', fail);
    });
  }

  /** Stops the host; resolves with its exit status, or -1 if the signal killed it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    this.#agent.destroy();
    // While a client has pages, the host refuses the first signal and obeys the second.
    const again = setInterval(() => {
      if (!this.log.includes('not stopped')) return;
      clearInterval(again);
      process.kill(this.pid, signal);
    }, 20);
    const status = await this.#child.stop({ signal });
    clearInterval(again);
    this.folder[Symbol.dispose]();
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
