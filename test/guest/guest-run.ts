/**
 * One run of a real kernel that swaps on an NBD server: QEMU boots Debian's kernel (TCG, one
 * processor, no network), whose init and hog (hog.c) print a boundary line and wait; here the line is
 * read, the server sampled once it is at rest, and the guest told to go on.
 *
 *   server ── Unix socket ── QEMU's NBD client ── virtio-blk ── kernel swap ── hog
 *      │                                                                        │ serial console
 *      └── /proc, control socket ──▶ samples ◀── boundary lines, "go on" ───────┘
 *
 * Boundaries: booted, swapon, fill, seq, rewrite, rand, half, kept, gone (the hog has ended),
 * discarded (swapoff and BLKDISCARD of the whole disk). Between them resident memory and the server's
 * own figures are sampled every 100 ms. Nothing waits for ever: the whole run has one time limit, and
 * QEMU and the server are ended in every case. The console stays in .cache/guest/last-console.log.
 */
import { spawn } from 'node:child_process';
import { createWriteStream, type WriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '../../src/base/prng.ts';
import { environment, must, nbdUri, TemporaryFolder } from '../interop/processes.ts';
import { type Artefacts, cacheFolder } from './artefacts.ts';
import { processorSeconds, residentBytes } from './process-sample.ts';
import { exportName, type GuestServer, type RunningServer } from './servers.ts';

export type Discard = 'none' | 'once' | 'pages';

export interface GuestOptions {
  readonly discard: Discard;
  /** The guest's memory and the hog's, MiB. */
  readonly ramMib: number;
  readonly hogMib: number;
  readonly seed: number;
  /** Rest before each sample, so that the kernel's discards have come; milliseconds. */
  readonly settleMs?: number;
  /** The whole run, boot included. */
  readonly timeoutMs?: number;
  /** Serve 8 MiB once and discard them before `idleBytes` is taken: see `warmUp`. Default false. */
  readonly isWarm?: boolean;
  /** False: nothing is sampled between boundaries, for the server is restarted. Default true. */
  readonly isSampled?: boolean;
  /** False: the server is not asked for its figures between boundaries, which costs it time. Default true. */
  readonly asksFigures?: boolean;
  /** Pins server and QEMU to this core. */
  readonly cpu?: number;
  /** True: the guest powers off when the hog has ended, however it ended. Default false. */
  readonly endsWithHog?: boolean;
  /** The run is over as soon as the end of the console matches this; the guest is ended where it is. */
  readonly endsAt?: RegExp;
  /** Replaces the reconnect-delay that `attach` prints, so that a refused reconnect fails soon. */
  readonly reconnectSeconds?: number;
  /** Called at a boundary after the sample, before the guest goes on. */
  readonly atBoundary?: (name: string, socketPath: string, server: RunningServer) => Promise<void>;
}

/** The state at a boundary. */
export interface Point {
  readonly name: string;
  /** Pages that came back wrong so far. */
  readonly errors: number;
  /** What the phase took, without the rest after it. */
  readonly seconds: number;
  /** Pages in and out since boot, by the guest's count. */
  readonly pswpin: number;
  readonly pswpout: number;
  /** Swap in use by the guest's count. */
  readonly usedKib: number;
  readonly residentBytes: number;
  /** The server's processor time since the guest was started, seconds. */
  readonly serverSeconds: number;
  readonly storedPages?: number;
  readonly usedBytes?: number;
  /** What nbdkit's base:allocation says. */
  readonly heldBytes?: number;
}

/** Resident memory, beside the server's own figure. */
interface Sample {
  readonly atMs: number;
  readonly residentBytes: number;
  /** The greater of the server's usedBytes just before and at the next sample; absent where it does not say. */
  readonly usedBytes?: number;
}

export interface GuestResult {
  readonly server: string;
  readonly options: GuestOptions;
  /** Resident bytes of the server when it had just started. */
  readonly startBytes: number;
  /** Resident bytes before the guest was started, after the warming up where one was asked for. */
  readonly idleBytes: number;
  readonly points: readonly Point[];
  readonly samples: readonly Sample[];
  /** The hog's exit status: 0 when every page was right; -N when signal N ended it. */
  readonly hogStatus: number;
  /** The end of what the guest wrote to its console. */
  readonly console: string;
  /** `@wrong` and `@failed` lines. */
  readonly complaints: readonly string[];
  /** From QEMU's start to its end, rests included. */
  readonly seconds: number;
  /** Resident bytes after the guest has gone. */
  readonly leftBytes: number;
}

const sampleEveryMs = 100;
const consoleTailBytes = 16_000;

export async function runGuest(
  server: GuestServer,
  artefacts: Artefacts,
  options: GuestOptions,
): Promise<GuestResult> {
  using folder = new TemporaryFolder();
  const socketPath = folder.file('swap.sock');
  const running = await server.start(socketPath, options.cpu);
  try {
    await sleep(500); // what a server does at start is over: memory is at rest
    const startBytes = residentBytes(running.pid);
    if (options.isWarm === true) await warmUp(running, socketPath);
    const idleBytes = residentBytes(running.pid);
    const guest = new Guest(running, artefacts, options, socketPath);
    const outcome = await guest.run();
    await sleep(options.settleMs ?? 1_000);
    const leftBytes = residentBytes(running.pid);
    return { server: server.name, options, startBytes, idleBytes, leftBytes, ...outcome };
  } finally {
    await running.stop();
  }
}

/**
 * A runtime that compiles as it goes grows by some MiB in its first thousands of requests, with
 * nothing stored. So that this is not taken for stored pages, the server first serves 2,048 pages,
 * gives them all up, and answers for its figures; at most those 8 MiB could hide in the idle state.
 */
async function warmUp(server: RunningServer, socketPath: string): Promise<void> {
  using folder = new TemporaryFolder();
  const uri = nbdUri(exportName, socketPath);
  const bytes = Buffer.alloc(8 << 20, 'cold pages leave, and come back when they are touched; ');
  new Prng(1).fill(bytes.subarray(0, bytes.length / 4)); // noise, so that no page way is left cold
  writeFileSync(folder.file('pages'), bytes);
  for (let round = 0; round < 4; round++) {
    await must('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', folder.file('pages'), uri]);
    await must('qemu-img', ['bench', '-f', 'raw', '-c', '8192', '-d', '16', '-s', '4096', uri]);
    await must('qemu-io', ['-f', 'raw', '-d', 'unmap', '-c', 'discard 0 8M', uri]);
  }
  for (let i = 0; i < 1_000; i++) await server.figures?.();
  await sleep(500);
}

type Outcome = Pick<
  GuestResult,
  'points' | 'samples' | 'hogStatus' | 'console' | 'complaints' | 'seconds'
>;

/** QEMU and the talk with it. */
class Guest {
  readonly #server: RunningServer;
  readonly #artefacts: Artefacts;
  readonly #options: GuestOptions;
  readonly #socketPath: string;
  readonly #points: Point[] = [];
  readonly #samples: Sample[] = [];
  readonly #complaints: string[] = [];
  readonly #startSeconds: number;
  readonly #startMs = performance.now();
  #hogStatus: number | undefined;
  #tail = '';

  constructor(
    server: RunningServer,
    artefacts: Artefacts,
    options: GuestOptions,
    socketPath: string,
  ) {
    this.#server = server;
    this.#artefacts = artefacts;
    this.#options = options;
    this.#socketPath = socketPath;
    this.#startSeconds = processorSeconds(server.pid);
  }

  async run(): Promise<Outcome> {
    const log = createWriteStream(join(cacheFolder, 'last-console.log'));
    const stopSampling = new AbortController();
    const sampling =
      this.#options.isSampled === false
        ? Promise.resolve()
        : this.#keepSampling(stopSampling.signal);
    try {
      await this.#boot(log);
    } catch (error) {
      throw new Error(
        `${(error as Error).message}; the guest's console ended with\n${this.#tail}`,
        {
          cause: error,
        },
      );
    } finally {
      stopSampling.abort();
      await sampling;
      log.end();
    }
    return {
      points: this.#points,
      samples: this.#samples,
      hogStatus: this.#hogStatus ?? -1,
      console: this.#tail,
      complaints: this.#complaints,
      seconds: (performance.now() - this.#startMs) / 1_000,
    };
  }

  /** Resolves when QEMU has ended by itself after the last boundary. */
  async #boot(log: WriteStream): Promise<void> {
    const attached = (await this.#server.qemuArguments?.()) ?? this.#plainAttach();
    const [program = '', ...args] = [...this.#command(), ...this.#withReconnect(attached)];
    const qemu = spawn(program, args, { env: environment, stdio: 'pipe' });
    const killQemu = (): boolean => qemu.kill('SIGKILL');
    process.once('exit', killQemu);
    let partial = '';
    let talk = Promise.resolve();
    let isOver = false;
    await new Promise<void>((done, fail) => {
      const timeoutMs = this.#options.timeoutMs ?? 120_000;
      const timer = setTimeout(() => {
        fail(new Error(`the guest did not end in ${timeoutMs} ms`));
      }, timeoutMs);
      const hear = (text: string): void => {
        if (isOver) return; // it says more before it is ended
        log.write(text);
        this.#tail = (this.#tail + text).slice(-consoleTailBytes);
        if (this.#options.endsAt?.test(this.#tail) === true) {
          clearTimeout(timer);
          done();
        }
        const lines = (partial + text).split(/\r?\n/);
        partial = lines.pop() ?? '';
        for (const line of lines) {
          talk = talk.then(async () => {
            if (await this.#answer(line)) qemu.stdin.write('\n');
          });
          talk.catch(fail);
        }
      };
      qemu.stdout.setEncoding('utf8').on('data', hear);
      qemu.stderr.setEncoding('utf8').on('data', hear);
      qemu.stdin.on('error', () => {}); // the guest may be gone before the newline; 'close' says so
      qemu.once('error', fail);
      qemu.once('close', (status) => {
        clearTimeout(timer);
        talk.then(() => {
          if (status === 0 && this.#isComplete()) done();
          else fail(new Error(`the guest ended early, QEMU's exit status ${status}`));
        }, fail);
      });
    }).finally(() => {
      isOver = true;
      killQemu();
      process.removeListener('exit', killQemu);
    });
  }

  #command(): string[] {
    const { cpu, ramMib, hogMib, seed, discard, endsWithHog } = this.#options;
    const hog = endsWithHog === true ? 'watch' : 'run';
    const words = `HOG=${hog} HOG_MIB=${hogMib} SEED=${seed} DISCARD=${discard}`;
    return [
      ...(cpu === undefined ? [] : ['taskset', '-c', String(cpu)]),
      ...['qemu-system-x86_64', '-accel', 'tcg', '-smp', '1', '-m', `${ramMib}M`],
      ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-serial', 'stdio'],
      ...['-kernel', this.#artefacts.kernelPath, '-initrd', this.#artefacts.initramfsPath],
      ...['-append', `console=ttyS0 loglevel=4 panic=-1 rdinit=/init ${words}`],
    ];
  }

  #isComplete(): boolean {
    if (this.#options.endsWithHog === true) return this.#hogStatus !== undefined;
    return this.#points.at(-1)?.name === 'discarded';
  }

  #withReconnect(attached: readonly string[]): string[] {
    const seconds = this.#options.reconnectSeconds;
    if (seconds === undefined) return [...attached];
    return attached.map((word) =>
      word.replace(/reconnect-delay=\d+/, `reconnect-delay=${seconds}`),
    );
  }

  #plainAttach(): string[] {
    return [
      '-blockdev',
      'driver=nbd,node-name=swap,server.type=unix,' +
        `server.path=${this.#socketPath},export=${exportName},discard=unmap`,
      '-device',
      'virtio-blk-pci,drive=swap,discard=on,logical_block_size=4096,physical_block_size=4096,werror=report,rerror=report',
    ];
  }

  /** True when the guest waits for a newline. */
  async #answer(line: string): Promise<boolean> {
    if (/^@(wrong|failed) /.test(line)) this.#complaints.push(line);
    const [, how, status] = /^@hog (status|signal)=(\d+)$/.exec(line) ?? [];
    if (how !== undefined) this.#hogStatus = how === 'signal' ? -Number(status) : Number(status);
    const boundary =
      /^@at (\w+) errors=(\d+) seconds=([\d.]+) pswpin=(\d+) pswpout=(\d+) used_kib=(\d+)$/.exec(
        line,
      );
    if (boundary === null) return false;
    const [errors, seconds, pswpin, pswpout, usedKib] = boundary.slice(2).map(Number);
    await sleep(this.#options.settleMs ?? 1_000);
    const figures = await this.#server.figures?.();
    const heldBytes = await this.#server.held?.();
    const name = boundary[1] ?? '';
    this.#points.push({
      name,
      errors: errors!,
      seconds: seconds!,
      pswpin: pswpin!,
      pswpout: pswpout!,
      usedKib: usedKib!,
      residentBytes: residentBytes(this.#server.pid),
      serverSeconds: processorSeconds(this.#server.pid) - this.#startSeconds,
      ...(heldBytes === undefined ? {} : { heldBytes }),
      ...(figures === undefined
        ? {}
        : { storedPages: figures.storedPages, usedBytes: figures.usedBytes }),
    });
    await this.#options.atBoundary?.(name, this.#socketPath, this.#server);
    return true;
  }

  /**
   * Resident memory right after a reading of the server's figure, and the next reading with it: the
   * server goes on working between the two. One question a sample, for it costs the server some time.
   */
  async #keepSampling(stop: AbortSignal): Promise<void> {
    const asks = this.#options.asksFigures !== false;
    let last: { atMs: number; residentBytes: number; usedBytes: number } | undefined;
    while (!stop.aborted) {
      try {
        const usedBytes = asks ? (await this.#server.figures?.())?.usedBytes : undefined;
        const resident = residentBytes(this.#server.pid);
        const atMs = performance.now() - this.#startMs;
        if (usedBytes === undefined) this.#samples.push({ atMs, residentBytes: resident });
        else {
          if (last !== undefined)
            this.#samples.push({ ...last, usedBytes: Math.max(last.usedBytes, usedBytes) });
          last = { atMs, residentBytes: resident, usedBytes };
        }
      } catch (error) {
        if (!stop.aborted) this.#complaints.push(`sampling: ${(error as Error).message}`);
        return;
      }
      await sleep(sampleEveryMs, undefined, { signal: stop }).catch(() => {});
    }
  }
}
