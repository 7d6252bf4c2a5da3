/** Worker threads that page memory under `frontswap/register` and are stopped, or run, at an inconvenient time. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  ControlBlock,
  EngineState,
  SEMAPHORES_AT,
  THREADS_MAX,
} from '../../src/memory/control-block.ts';
import { EngineThreads } from '../../src/memory/engine-threads.ts';
import { ExitHooks } from '../../src/os/linux/exit-hooks.ts';
import { Poller, Ready } from '../../src/os/linux/poll.ts';
import { Process } from '../../src/os/linux/process.ts';
import { Semaphores } from '../../src/os/linux/semaphore.ts';
import { type Linux, loadLinux } from '../../src/os/linux/system-call.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const RUN_MS = 60_000;
const options = { skip: skipUnlessPaging, timeout: 2 * RUN_MS };
const register = new URL('../../src/memory/register.js', import.meta.url).href;
const program = fileURLToPath(new URL('./children/worker-stops.js', import.meta.url));

function run(...args: readonly string[]): Promise<Ending> {
  const env = {
    ...process.env,
    FRONTSWAP_WORKERS: '1',
    FRONTSWAP_RESIDENT: '1M',
    FRONTSWAP_STATS: '1',
  };
  const argv = ['--import', register, program, ...args];
  return endingOf(spawn(process.execPath, argv, { env }), undefined, RUN_MS);
}

const memories = ({ stderr }: Ending): number =>
  Number(/frontswap: (\d+) memor(?:y|ies)/.exec(stderr)?.[1] ?? -1);

const runs: readonly (readonly [name: string, args: readonly string[], stdout: string])[] = [
  ['workers that end and start, many at a time', ['churn', '40'], ''],
  ['workers that are stopped as they join the swap', ['joining', '10'], ''],
  ['workers whose own workers are stopped and join', ['subs', '8'], '1\n'],
  ['exit handlers that wait for a worker, with paged memory and without', ['exit'], '1,1\n'],
  [
    'a swap that is closed while a worker collects garbage',
    ['close'],
    'closed after the collection: true\n',
  ],
  ['a worker that closes the pipe of its thread', ['pipe'], '2 descriptors, 0 wrong words\n'],
];

for (const [name, args, expected] of runs)
  test(`no process dies, hangs or reads wrong data: ${name}`, options, async () => {
    const { code, signal, stdout, stderr } = await run(...args);
    assert.deepEqual([code, signal, stdout], [0, null, expected], stderr);
  });

test(
  'the first memory of a worker is paged while its main thread is blocked',
  options,
  async () => {
    const ended = await run('blocked');
    assert.deepEqual([ended.code, ended.stdout, memories(ended)], [0, 'ok\n', 1], ended.stderr);
  },
);

interface Rig {
  readonly linux: Linux;
  readonly poller: Poller;
  readonly semaphores: Semaphores;
  readonly threads: EngineThreads;
}

function rig(): Rig {
  const linux = loadLinux().linux!;
  const control = new ControlBlock(linux);
  const semaphores = new Semaphores(linux, control.shared, SEMAPHORES_AT);
  const poller = new Poller(linux, [], Ready.readable, THREADS_MAX);
  return { linux, poller, semaphores, threads: new EngineThreads(linux, semaphores, poller, 0) };
}

/** The number that no thread of this process has: the largest of proc(5)'s pid_max. */
const NO_THREAD = 2 ** 22;
const ROOT = 5;
const self = (): number => new Process(loadLinux().linux!).threadId();
/** Another thread of this process, which does not end before it. */
const other = (): number =>
  Number(readdirSync('/proc/self/task').find((id) => Number(id) !== self()));

test('an exiting thread waits only if it is armed, until its regions have ended', options, () => {
  const { linux, poller, semaphores, threads } = rig();
  const { thread, writeFd } = threads.enter(self(), ROOT);
  assert.throws(() => threads.checkArmed(thread), { code: 'ERR_IO_ENDED' });
  assert.ok(semaphores.tryWait(thread), 'it would not wait yet');
  semaphores.post(thread);
  threads.arm(thread);
  threads.checkArmed(thread);
  assert.deepEqual([threads.armedRoots, semaphores.tryWait(thread)], [[ROOT], false]);
  assert.equal(poller.wait(0), 0);
  assert.equal(threads.hasEnded(true), false);
  semaphores.post(THREADS_MAX + thread); // what the exit hooks do
  linux.close(writeFd);
  assert.equal(poller.wait(1000), 1);
  assert.equal(threads.hasEnded(false), true);
  const ended: number[] = [];
  threads.release((number) => {
    ended.push(number);
    assert.equal(semaphores.tryWait(thread), false, 'it still waits');
  });
  assert.deepEqual([ended, threads.armedRoots, semaphores.tryWait(thread)], [[thread], [], true]);
  assert.throws(() => threads.checkArmed(thread), { code: 'ERR_IO_ENDED' });
  threads.close();
});

test(
  'the number of a thread that has ended is reused only once the thread no longer exists',
  options,
  () => {
    const { linux, semaphores, threads } = rig();
    const first = threads.enter(other(), ROOT);
    threads.arm(first.thread);
    semaphores.post(THREADS_MAX + first.thread);
    linux.close(first.writeFd);
    assert.equal(threads.hasEnded(true), true);
    threads.release(() => {});
    const second = threads.enter(NO_THREAD, ROOT);
    assert.deepEqual([first.thread, second.thread], [1, 2], 'it may wait for the semaphore yet');
    assert.equal(threads.enter(self(), ROOT).thread, 2);
    threads.close();
  },
);

test('a thread that ended after it posted its call is not armed', options, () => {
  const { semaphores, threads } = rig();
  const { thread } = threads.enter(self(), ROOT);
  assert.ok(semaphores.tryWait(thread), 'its hook has run');
  assert.throws(() => threads.arm(thread), { code: 'ERR_IO_ENDED' });
  assert.deepEqual(threads.armedRoots, []);
  threads.close();
});

test('a thread whose descriptor the program closed has not ended', options, () => {
  const { linux, poller, semaphores, threads } = rig();
  const { thread, writeFd } = threads.enter(self(), ROOT);
  threads.arm(thread);
  linux.close(writeFd);
  assert.deepEqual([poller.wait(1000), threads.hasEnded(false)], [1, false]);
  assert.equal(poller.wait(0), 0, 'it is polled no more');
  threads.release(() => assert.fail('it has not ended'));
  threads.checkArmed(thread);
  semaphores.post(THREADS_MAX + thread);
  assert.deepEqual([threads.hasEnded(false), threads.hasEnded(true)], [false, true]);
  threads.close();
});

test('without a free descriptor no thread can enter, and later threads can', options, () => {
  const { threads } = rig();
  const fds: number[] = [];
  try {
    for (;;) fds.push(openSync('/dev/null', 'r'));
  } catch {
    closeSync(fds.pop()!);
  }
  for (let i = 0; i < 2; i++)
    assert.throws(() => threads.enter(self(), ROOT), { code: 'ERR_IO_SYSTEM' });
  for (const fd of fds) closeSync(fd);
  assert.equal(threads.enter(self(), ROOT).thread, 1);
  threads.close();
});

test(
  'at most as many threads enter as there are numbers; those that ended before they armed are found',
  options,
  () => {
    const { linux, threads } = rig();
    const before = readdirSync('/proc/self/fd').length;
    const fds: number[] = [];
    for (let i = 1; i < THREADS_MAX; i++) fds.push(threads.enter(other(), ROOT).writeFd);
    assert.throws(() => threads.enter(self(), ROOT), { code: 'ERR_IO_UNSUPPORTED' });
    threads.close();
    for (const fd of fds) linux.close(fd);
    assert.equal(readdirSync('/proc/self/fd').length, before);
    const later = rig().threads;
    for (let i = 0; i < 10; i++) assert.equal(later.enter(NO_THREAD, ROOT).thread, 1);
    assert.ok(readdirSync('/proc/self/fd').length <= before + 2, 'descriptors are left');
    later.close();
  },
);

test('exit does not wait for threads once the fault thread has ended', options, () => {
  const control = new ControlBlock(loadLinux().linux);
  control.armedRoots = [ROOT];
  control.state = EngineState.ended;
  assert.equal(control.waitForThreads(), true);
  control.thread = self();
  control.state = EngineState.running;
  assert.equal(control.waitForThreads(), false);
});

test('a C library without the functions of the hooks is reported', options, () => {
  const linux = loadLinux().linux!;
  const without = {
    bind: () => () => 0,
    addressOf: (memory: ArrayBufferLike) => linux.addressOf(memory),
  };
  assert.throws(() => new ExitHooks(without as unknown as Linux), {
    code: 'ERR_IO_UNSUPPORTED',
    message: /does not export close\(\)/,
  });
});
