/**
 * Runs other programs as children of a test, with time limits.
 * Only children started here are signalled; those alive when the test process ends are killed. A test with a missing tool
 * is skipped with a reason, except in CI (CI=true), where it fails.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The root of the repository, relative to build/test/interop/. */
export const root: string = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

const live = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of live) child.kill('SIGKILL');
});

function own(child: ChildProcess): ChildProcess {
  live.add(child);
  child.once('exit', () => live.delete(child));
  return child;
}

/** Debian installs nbd-client in sbin, which may be missing in PATH. */
const searchPath = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
export const environment: NodeJS.ProcessEnv = { ...process.env, PATH: searchPath, LC_ALL: 'C' };

/** True if `tool` is a program in the path or, with a slash, an existing file. */
export function have(tool: string): boolean {
  const places = tool.includes('/') ? [''] : searchPath.split(':');
  return places.some((place) => {
    try {
      accessSync(
        place === '' ? tool : join(place, tool),
        tool.includes('/') ? constants.R_OK : constants.X_OK,
      );
      return true;
    } catch {
      return false;
    }
  });
}

/** A test that needs `tools`: skipped with a reason if one is missing, failed if CI=true. */
export function peerTest(
  name: string,
  tools: readonly string[],
  body: () => Promise<void>,
  timeoutMs = 60_000,
): void {
  const missing = tools.filter((tool) => !have(tool));
  const reason = `${missing.join(', ')} missing: run scripts/install-peers.sh`;
  const isFatal = process.env['CI'] === 'true';
  test(name, { timeout: timeoutMs, skip: missing.length > 0 && !isFatal && reason }, async () => {
    assert.deepEqual(missing, [], reason);
    await body();
  });
}

export interface Finished {
  /** Exit status; -1 if killed by a signal. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly timeoutMs?: number;
  readonly cwd?: string;
}

/** Runs a program to its end. After `timeoutMs` (default 30 s) it is killed and the promise rejects. */
export function run(
  command: string,
  args: readonly string[],
  { timeoutMs = 30_000, cwd }: RunOptions = {},
): Promise<Finished> {
  return new Promise((done, fail) => {
    const child = own(
      spawn(command, args, {
        env: environment,
        stdio: ['ignore', 'pipe', 'pipe'],
        ...(cwd === undefined ? {} : { cwd }),
      }),
    );
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(new Error(`${command} ${args.join(' ')}: not done after ${timeoutMs} ms\n${stderr}`));
    }, timeoutMs);
    child.once('error', (error) => {
      clearTimeout(timer);
      fail(error);
    });
    child.once('close', (status) => {
      clearTimeout(timer);
      done({ status: status ?? -1, stdout, stderr });
    });
  });
}

/** Like `run`, but rejects with the output if the exit status is not 0. */
export async function must(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { status, stdout, stderr } = await run(command, args, options);
  assert.equal(status, 0, `${command} ${args.join(' ')}: exit ${status}\n${stdout}${stderr}`);
  return stdout;
}

export interface Child {
  readonly pid: number;
  /** The last 64 KiB of its stderr. */
  stderr(): string;
  /** True until the process has ended. */
  isRunning(): boolean;
  /** Sends the signal (SIGTERM), after 5 s SIGKILL; resolves with the exit status (-1: killed by a signal). */
  stop(options?: { readonly signal?: NodeJS.Signals }): Promise<number>;
}

/** Starts a server and waits until its Unix socket accepts connections. `cpu` pins it to one core (taskset). */
export async function startServer(
  command: string,
  args: readonly string[],
  socketPath: string,
  cpu?: number,
): Promise<Child> {
  const pinned = cpu === undefined ? [] : ['taskset', '-c', String(cpu)];
  const [program = '', ...rest] = [...pinned, command, ...args];
  const child = own(
    spawn(program, rest, { env: environment, stdio: ['ignore', 'ignore', 'pipe'] }),
  );
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-65_536);
  });
  let startError: Error | undefined;
  child.once('error', (error) => {
    startError = error;
  });
  const ended = new Promise<number>((done) => {
    child.once('exit', (status) => done(status ?? -1));
  });
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  for (let waited = 0; !(await accepts(socketPath)); waited += 20) {
    if (startError !== undefined || !isRunning() || waited > 15_000) {
      child.kill('SIGKILL');
      throw new Error(`${program} does not serve ${socketPath}\n${stderr}`, { cause: startError });
    }
    await sleep(20);
  }
  const stop: Child['stop'] = async ({ signal = 'SIGTERM' } = {}) => {
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
    const status = await ended;
    clearTimeout(timer);
    return status;
  };
  return { pid: child.pid ?? -1, stderr: () => stderr, isRunning, stop };
}

/** The URI of an export on a Unix socket (NBD uri.md). */
export const nbdUri = (exportName: string, socketPath: string): string =>
  `nbd+unix:///${exportName}?socket=${socketPath}`;

function accepts(socketPath: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      done(true);
    });
    socket.once('error', () => done(false));
  });
}

/** A private folder for sockets and files, removed when disposed. */
export class TemporaryFolder implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), 'frontswap-test-'));

  file(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
