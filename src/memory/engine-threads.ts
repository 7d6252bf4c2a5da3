/**
 * The worker threads with paged memories. V8 frees a thread's memory when the thread ends, however it ends and without notice,
 * and the pager must not access an address that may have a new owner. So an ending thread waits until the engine has ended its
 * regions. Each thread has two semaphores, A and B:
 *
 *   worker                                         engine
 *   call enter  ──────────────────────────────▶   entered: a number, a pipe, A = 1, B = 0
 *   exit hooks: sem_wait(A), close(pipe), sem_post(B)
 *   call arm    ──────────────────────────────▶   armed: A = 0; the thread may adopt memory
 *   ...
 *   ends: sem_post(B), close(pipe)  ──────────▶   poll: hang-up, and B = 1: ends the thread's regions
 *         sem_wait(A)  ◀───────────────────────   ended: sem_post(A)
 *   is gone                                        its number is free
 *
 * Hooks run in reverse order. A thread that ends between the steps of its entry does not wait, because A is 1 until all hooks
 * exist. The pipe only wakes the engine. B shows that the thread has ended: the pipe does not, because a program may close
 * descriptors that are not its own. If the pipe is lost, the engine checks B when it is idle.
 *
 * Invariants: the region of a thread is adopted only while the thread is armed, and ends before A is posted. A number, with its
 * semaphores, is reused only when the thread no longer exists in the kernel: until then the thread may wait in sem_wait(A). If
 * the fault thread ends first, its own exit hooks post every A, so that no thread waits forever.
 */
import { readlinkSync } from 'node:fs';
import { SwapError } from '../base/errors.ts';
import { ExitHooks } from '../os/linux/exit-hooks.ts';
import { openPipe } from '../os/linux/pipe.ts';
import { type Poller, Ready } from '../os/linux/poll.ts';
import { Process } from '../os/linux/process.ts';
import type { Semaphores } from '../os/linux/semaphore.ts';
import type { Linux } from '../os/linux/system-call.ts';
import { THREADS_MAX } from './control-block.ts';

interface Thread {
  readonly systemId: number;
  /** Node's id of the ancestor that the main thread started. */
  readonly root: number;
  readonly readFd: number;
  readonly writeFd: number;
  /** Its name in /proc: if the program closed the descriptor, the number may belong to another file. */
  readonly pipe: string | null;
  state: 'entered' | 'armed' | 'ended';
  /** False: the pipe has hung up, or was closed by the program. */
  isPolled: boolean;
  /** B was 1. */
  hasPosted: boolean;
}

export class EngineThreads {
  readonly #linux: Linux;
  readonly #process: Process;
  readonly #semaphores: Semaphores;
  readonly #poller: Poller;
  /** Position of thread 1 in the poller's table, less one. */
  readonly #pollAt: number;
  /** By number, from 1; 0 is the thread that opened the swap. */
  readonly #threads: (Thread | null)[] = [null];
  #hooks: ExitHooks | null = null;
  /** Numbers below it have a hook of this thread; a hook cannot be added twice or removed. */
  #hooked = 1;

  /** @param semaphores index of A: the thread's number; index of B: that plus THREADS_MAX */
  constructor(linux: Linux, semaphores: Semaphores, poller: Poller, pollAt: number) {
    this.#linux = linux;
    this.#process = new Process(linux);
    this.#semaphores = semaphores;
    this.#poller = poller;
    this.#pollAt = pollAt;
  }

  /**
   * Registers a thread that will adopt memory. Returns its number, and the end of the pipe that it must close when it exits.
   * @param systemId its thread id
   * @throws SwapError ERR_IO_UNSUPPORTED: too many threads, or Node does not export what exit hooks need; ERR_IO_SYSTEM
   */
  enter(systemId: number, root: number): { readonly thread: number; readonly writeFd: number } {
    const thread = this.#freeNumber();
    this.#hooks ??= new ExitHooks(this.#linux);
    const { readFd, writeFd } = openPipe(this.#linux);
    if (thread === this.#hooked) {
      this.#hooked++;
      this.#hooks.addPost(this.#semaphores, thread);
    }
    this.#semaphores.init(thread, 1);
    this.#semaphores.init(THREADS_MAX + thread, 0);
    const pipe = { readFd, writeFd, pipe: pipeOf(readFd), isPolled: true };
    this.#threads[thread] = { systemId, root, ...pipe, state: 'entered', hasPosted: false };
    this.#poller.set(this.#pollAt + thread, readFd);
    return { thread, writeFd };
  }

  /**
   * The hooks of the thread exist: from now on it waits when it exits.
   * @throws SwapError ERR_IO_ENDED: it has ended since it posted the call
   */
  arm(thread: number): void {
    const entry = this.#threads[thread];
    if (entry?.state !== 'entered' || entry.hasPosted || !this.#semaphores.tryWait(thread))
      throw ended();
    entry.state = 'armed';
  }

  /** @throws SwapError ERR_IO_ENDED: the thread is ending, and its memory must not be adopted */
  checkArmed(thread: number): void {
    if (thread !== 0 && this.#threads[thread]?.state !== 'armed') throw ended();
  }

  /** The roots of armed threads, one for each thread. */
  get armedRoots(): number[] {
    const armed = this.#threads.filter((entry) => entry?.state === 'armed');
    return armed.map((entry) => entry!.root);
  }

  /**
   * Whether a thread has ended since the last release(). Cost: one read per number in use.
   * @param isIdle true: also checks threads whose pipe does not report their end; costs one call of a C function each
   */
  hasEnded(isIdle: boolean): boolean {
    let hasEnded = false;
    for (let thread = 1; thread < this.#threads.length; thread++) {
      const entry = this.#threads[thread] ?? null;
      if (entry === null || entry.state === 'ended') continue;
      if (this.#hasHungUp(thread, entry) || isIdle)
        entry.hasPosted ||= this.#semaphores.tryWait(THREADS_MAX + thread);
      hasEnded ||= entry.hasPosted;
    }
    return hasEnded;
  }

  /** Calls `end` for each thread that the last hasEnded() found, and then lets the thread free its memory. */
  release(end: (thread: number) => void): void {
    for (let thread = 1; thread < this.#threads.length; thread++) {
      const entry = this.#threads[thread];
      if (entry?.hasPosted !== true || entry.state === 'ended') continue;
      end(thread);
      this.#end(thread, entry);
    }
  }

  /** The engine no longer has regions: no thread has to wait. */
  close(): void {
    for (let thread = 1; thread < this.#threads.length; thread++) {
      const entry = this.#threads[thread] ?? null;
      if (entry !== null && entry.state !== 'ended') this.#end(thread, entry);
    }
  }

  #hasHungUp(thread: number, entry: Thread): boolean {
    if (!entry.isPolled) return false;
    const lost = Ready.hangUp | Ready.error | Ready.invalid;
    if ((this.#poller.readiness(this.#pollAt + thread) & lost) === 0) return false;
    entry.isPolled = false;
    this.#poller.clear(this.#pollAt + thread); // it would be ready in each poll
    return true;
  }

  #end(thread: number, entry: Thread): void {
    const wasArmed = entry.state === 'armed';
    entry.state = 'ended';
    if (entry.isPolled) this.#poller.clear(this.#pollAt + thread);
    if (pipeOf(entry.readFd) === entry.pipe) this.#linux.close(entry.readFd);
    if (wasArmed) this.#semaphores.post(thread);
  }

  #freeNumber(): number {
    let free = 0;
    for (let thread = this.#threads.length - 1; thread > 0; thread--) {
      const entry = this.#threads[thread] ?? null;
      if (entry !== null && this.#isGone(entry)) this.#free(thread, entry);
      if (this.#threads[thread] === null) free = thread;
    }
    if (free !== 0) return free;
    if (this.#threads.length < THREADS_MAX) return this.#threads.length;
    throw new SwapError(
      'ERR_IO_UNSUPPORTED',
      `at most ${THREADS_MAX - 1} worker threads at a time can have paged memory`,
      { reason: 'threads' },
    );
  }

  /** An armed thread is not gone before release(). */
  #isGone({ state, systemId }: Thread): boolean {
    return state !== 'armed' && !this.#process.hasThread(systemId);
  }

  #free(thread: number, entry: Thread): void {
    if (entry.state === 'entered') {
      const { writeFd, pipe } = entry; // the thread may have ended before it added the hook that closes its end
      if (pipe !== null && pipeOf(writeFd) === pipe) this.#linux.close(writeFd);
      this.#end(thread, entry);
    }
    this.#threads[thread] = null;
  }
}

/** The pipe of a descriptor; null: not a pipe. */
function pipeOf(fd: number): string | null {
  try {
    const link = readlinkSync(`/proc/self/fd/${fd}`);
    return link.startsWith('pipe:') ? link : null;
  } catch {
    return null;
  }
}

const ended = (): SwapError =>
  new SwapError('ERR_IO_ENDED', 'the thread is ending', { reason: 'thread' });
