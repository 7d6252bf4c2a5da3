/** `frontswap host` as a process of its own: the shipped program, or the same with stand-in parts. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { testFolder } from '../support/fixtures/folder.ts';
import { until as waitUntil } from '../support/fixtures/until.ts';

export const standIn: string = join(import.meta.dirname, 'stand-in-main.js');
export const shipped: string = join(import.meta.dirname, '../../src/cli/main.js');

export interface Run {
  readonly child: ChildProcess;
  readonly text: { stdout: string; stderr: string };
  /** Exit status, or the signal's name. */
  readonly ended: Promise<number | string>;
}

/** @param descriptors of this process; the child has them from 3 on */
export function start(
  t: TestContext,
  program: string,
  argv: readonly string[],
  env: Record<string, string> = {},
  descriptors: readonly number[] = [],
): Run {
  const child = spawn(process.execPath, [program, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe', ...descriptors],
    env: { PATH: process.env['PATH'] ?? '', ...env },
  });
  t.after(() => child.kill('SIGKILL'));
  t.signal.addEventListener('abort', () => child.kill('SIGKILL'));
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.setEncoding('utf8').on('data', (more: string) => {
      text[name] += more;
    });
  const ended = new Promise<number | string>((resolve) =>
    child.once('close', (status, signal) => resolve(status ?? signal ?? 'nothing')),
  );
  return { child, text, ended };
}

/** Waits for a condition; fails if the process ends first. */
export async function until(run: Run, holds: () => boolean): Promise<void> {
  let gone: number | string | null = null;
  void run.ended.then((status) => {
    gone = status;
  });
  await waitUntil(holds.toString(), () => {
    if (!holds() && gone !== null) assert.fail(`ended with ${gone}: ${run.text.stderr}`);
    return holds();
  });
}

export const lineCount = (text: string): number => text.split('\n').length - 1;

export function post(path: string, route: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const question = request({ socketPath: path, path: route, method: 'POST' }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    question.once('error', reject);
    question.end();
  });
}

interface ReadyHost {
  readonly folder: string;
  /** Its stderr so far. */
  readonly said: () => string;
}

/**
 * A host that is ready, with one disk on `s`, its control socket on `c`.
 * @param before shell commands to run before the host starts
 * @param disk `@` is replaced by the host's folder
 */
export async function readyHost(
  t: TestContext,
  before = '',
  disk = 'vm1=64M',
  folder: string = testFolder(t),
): Promise<ReadyHost> {
  const [socket, control] = [join(folder, 's'), join(folder, 'c')];
  const argv = ['host', '-U', socket, '--control', control, '--disk', disk.replace('@', folder)];
  const words = [process.execPath, shipped, ...argv].map((word) => `'${word}'`);
  const child = spawn('sh', ['-c', `${before} exec ${words.join(' ')}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '' },
  });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (more: string) => {
    said += more;
  });
  await once(child.stdout, 'data');
  return { folder, said: () => said };
}

/** A watchdog: the process is killed and the test fails. */
export const timeout = 120_000;

export const sample = (folder: string): string[] => [
  ...['host', '-U', join(folder, 's'), '--control', join(folder, 'c')],
  ...['--disk', 'vm1=64M,limit=32M'],
];
