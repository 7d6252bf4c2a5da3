/** How a process of ours ends, and what one without privilege can do: seen from outside. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { unprivilegedUserfaultfd } from '../../../src/os/linux/process.ts';
import { UffdFeature } from '../../../src/os/linux/uffd-constants.ts';
import { noLinux, noUffd } from './machine.ts';

const child = fileURLToPath(new URL('./ending-child.js', import.meta.url));
const asNobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];

interface End {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A core, where one is written, goes to the folder for what may be thrown away. */
async function run(task: string, wrapper: readonly string[] = []): Promise<End> {
  const [command = '', ...rest] = [...wrapper, process.execPath, child, task];
  const started = spawn(command, rest, {
    cwd: tmpdir(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  });
  const [stdout, stderr, [status, signal]] = await Promise.all([
    text(started.stdout),
    text(started.stderr),
    once(started, 'close') as Promise<[number | null, string | null]>,
  ]);
  return { status, signal, stdout, stderr };
}

function noNobody(): string | false {
  if (process.getuid?.() !== 0) return 'only root can become nobody';
  const [command = '', ...rest] = [...asNobody, process.execPath, child, 'nothing'];
  const { status } = spawnSync(command, rest, { timeout: 20_000 });
  return status !== 0 && 'setpriv is missing, or nobody cannot read this checkout';
}

describe('a process', { skip: noLinux, concurrency: 3 }, () => {
  test('_exit ends at once with its status, past handlers and a busy worker', async () => {
    const { status, stderr, stdout } = await run('exit');
    assert.equal(status, 3);
    assert.equal(stderr, 'a note\n');
    assert.equal(stdout, '');
  });

  test('abort ends by SIGABRT', async () => {
    assert.equal((await run('abort')).signal, 'SIGABRT');
  });

  test('a note is cut after 1024 bytes', async () => {
    assert.equal((await run('long-note')).stderr.length, 1024);
  });

  test('duplicate puts a descriptor in the place of another', async () => {
    const { stdout, stderr } = await run('duplicate');
    assert.equal(stdout, '');
    assert.equal(stderr, 'to stderr');
  });

  test('who touches a poisoned page dies of SIGBUS', {
    skip: noUffd(UffdFeature.poison),
  }, async () => {
    const { signal, stdout } = await run('poison');
    assert.equal(stdout, 'poisoned\n');
    assert.equal(signal, 'SIGBUS');
  });

  test('without privilege there is a userfaultfd for user mode, and it serves', {
    skip: noNobody(),
  }, async () => {
    const { stdout } = await run('user-mode', asNobody);
    const { access, value, kernel } = JSON.parse(stdout) as Record<string, unknown>;
    assert.equal(access, unprivilegedUserfaultfd() === 1 ? 'system-call' : 'user-mode');
    assert.equal(value, 21);
    assert.equal(kernel, unprivilegedUserfaultfd() === 1 ? 21 : 'EFAULT', 'a system call on it');
  });
});
