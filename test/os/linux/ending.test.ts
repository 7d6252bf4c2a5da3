/** How a child process ends, and what it can do without privilege. */
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

/** A core dump, if any, is written to the temporary folder. */
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
  if (process.getuid?.() !== 0) return 'only root can switch to another user';
  const [command = '', ...rest] = [...asNobody, process.execPath, child, 'nothing'];
  const { status } = spawnSync(command, rest, { timeout: 20_000 });
  return status !== 0 && 'setpriv is missing, or an unprivileged user cannot read this checkout';
}

describe('a process', { skip: noLinux, concurrency: 3 }, () => {
  test('_exit ends the process at once with its status, despite exit handlers and a busy worker', async () => {
    const { status, stderr, stdout } = await run('exit');
    assert.equal(status, 3);
    assert.equal(stderr, 'a note\n');
    assert.equal(stdout, '');
  });

  test('abort ends the process by SIGABRT', async () => {
    assert.equal((await run('abort')).signal, 'SIGABRT');
  });

  test('writeStderr() truncates text to 1024 bytes', async () => {
    assert.equal((await run('long-note')).stderr.length, 1024);
  });

  test('duplicate replaces a descriptor by another', async () => {
    const { stdout, stderr } = await run('duplicate');
    assert.equal(stdout, '');
    assert.equal(stderr, 'to stderr');
  });

  test('access to a poisoned page raises SIGBUS', {
    skip: noUffd(UffdFeature.poison),
  }, async () => {
    const { signal, stdout } = await run('poison');
    assert.equal(stdout, 'poisoned\n');
    assert.equal(signal, 'SIGBUS');
  });

  test('without privilege a userfaultfd for user mode serves faults', {
    skip: noNobody(),
  }, async () => {
    const { stdout } = await run('user-mode', asNobody);
    const { access, value, kernel } = JSON.parse(stdout) as Record<string, unknown>;
    assert.equal(access, unprivilegedUserfaultfd() === 1 ? 'system-call' : 'user-mode');
    assert.equal(value, 21);
    assert.equal(
      kernel,
      unprivilegedUserfaultfd() === 1 ? 21 : 'EFAULT',
      'a system call on a missing page',
    );
  });
});
