/**
 * Functions of the C library that a thread of Node calls when it ends, before V8 frees its memory. They run no matter how the
 * thread ends: normally, with an error, by process.exit(), by worker.terminate(), or out of memory. JavaScript does not run at
 * that point.
 *
 * A hook has one argument and no result, which suffices to notify another thread and to wait for it:
 *
 *   close(fd)             the reader of the pipe sees a hang-up
 *   sem_wait(semaphore)   waits until the other thread posts
 *   sem_post(semaphore)   releases a thread that waits
 *
 * Hooks run in reverse order of addHook(). A hook cannot be removed, so the memory of a semaphore is referenced as long as the
 * thread lives. A signal does not end the wait, because handlers of Node and V8 have SA_RESTART.
 *
 * Sources: AddEnvironmentCleanupHook in Node's src/node.h, and v8::Isolate::GetCurrent in v8-isolate.h, both exported
 * for addons; dlsym(3), close(2), sem_wait(3).
 */
import { SwapError } from '../../base/errors.ts';
import type { NativeCall } from '../koffi.ts';
import type { Semaphores } from './semaphore.ts';
import { type Linux, Struct } from './system-call.ts';

type Hook = 'close' | 'sem_wait' | 'sem_post';

/** C++ names: v8::Isolate::GetCurrent(), node::AddEnvironmentCleanupHook(v8::Isolate*, void (*)(void*), void*). */
const CURRENT_ISOLATE = '_ZN2v87Isolate10GetCurrentEv';
const ADD_HOOK = '_ZN4node25AddEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_';
const NAME_BYTES = 16;

/** Memory that hooks of this thread access. */
const referenced = new Set<object>();

/** The hooks of the calling thread. */
export class ExitHooks {
  readonly #add: NativeCall;
  readonly #isolate: number;
  readonly #functions: Readonly<Record<Hook, number>>;

  /** @throws SwapError ERR_IO_UNSUPPORTED: this Node does not export its functions */
  constructor(linux: Linux) {
    try {
      this.#isolate = linux.bind(`uintptr_t ${CURRENT_ISOLATE}()`)();
      this.#add = linux.bind(
        `void ${ADD_HOOK}(uintptr_t isolate, uintptr_t hook, uintptr_t argument)`,
      );
    } catch (error) {
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        `memory of worker threads is not paged: this Node does not export its functions (${(error as Error).message})`,
        { reason: 'hooks' },
      );
    }
    const dlsym = linux.bind('uintptr_t dlsym(uintptr_t library, uintptr_t name)');
    const name = new Struct(linux, NAME_BYTES);
    const addressOf = (text: Hook): number => {
      name.bytes.fill(0);
      new TextEncoder().encodeInto(text, name.bytes);
      const address = dlsym(0, name.address);
      if (address !== 0) return address;
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        `memory of worker threads is not paged: the C library does not export ${text}()`,
        { reason: 'hooks' },
      );
    };
    this.#functions = {
      close: addressOf('close'),
      sem_wait: addressOf('sem_wait'),
      sem_post: addressOf('sem_post'),
    };
  }

  /** @param fd closed at exit */
  addClose(fd: number): void {
    this.#addHook('close', fd);
  }

  /** @param i number of a semaphore of the table */
  addWait(semaphores: Semaphores, i: number): void {
    referenced.add(semaphores.memory);
    this.#addHook('sem_wait', semaphores.addressOf(i));
  }

  /** @param i number of a semaphore of the table */
  addPost(semaphores: Semaphores, i: number): void {
    referenced.add(semaphores.memory);
    this.#addHook('sem_post', semaphores.addressOf(i));
  }

  #addHook(hook: Hook, argument: number): void {
    this.#add(this.#isolate, this.#functions[hook], argument);
  }
}
