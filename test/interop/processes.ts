/**
 * Other programs as children of a test: started, waited for, bounded in time, and always ended.
 * Only children started here are ever signalled; those still alive when the test process ends are
 * killed with it. A tool that is missing makes its test skip by name, except in CI (CI=true), where
 * it fails: there the peers are part of what is promised.
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

/** The repository's root, seen from build/test/interop/. */
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

/** Debian keeps nbd-client in sbin, which a user's PATH may lack. */
const searchPath = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
export const environment: NodeJS.ProcessEnv = { ...process.env, PATH: searchPath, LC_ALL: 'C' };

/** True when `tool` is a program on the path, or, with a slash in it, an existing file. */
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

/** A test that needs `tools`; skips by name where one is missing, fails there when CI=true. */
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
  /** Exit status; -1 when a signal ended it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly timeoutMs?: number;
  readonly cwd?: string;
}

/** Runs a program to its end. Past `timeoutMs` (default 30 s) it is killed and the promise rejects. */
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

/** Like `run`, and an exit status other than 0 rejects with what the program said. */
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
  /** What it wrote to stderr so far, its last 64 KiB. */
  stderr(): string;
  /** True until the process has ended. */
  isRunning(): boolean;
  /** The signal (SIGTERM), after 5 s SIGKILL; resolves with the exit status (-1: killed by a signal). */
  stop(options?: { readonly signal?: NodeJS.Signals }): Promise<number>;
}

/** Starts a server and waits until its Unix socket accepts. `cpu` pins it to one core (taskset). */
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

/** How NBD's uri.md writes an export on a Unix socket. */
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
