/** A worker thread's side of engine-threads.ts. */
import { ExitHooks } from '../os/linux/exit-hooks.ts';
import { Process } from '../os/linux/process.ts';
import { Semaphores } from '../os/linux/semaphore.ts';
import type { Linux } from '../os/linux/system-call.ts';
import type { Caller } from './caller.ts';
import { CallOp, SEMAPHORES_AT, THREADS_MAX } from './control-block.ts';

/**
 * Prepares the calling worker thread to adopt memory: when it ends, it waits until the engine has ended its regions. Call it in
 * ThreadGate.join(). Returns the thread's number.
 * @param root Node's id of the ancestor that the main thread started
 * @throws SwapError ERR_IO_UNSUPPORTED: too many threads, or this Node does not export its functions; ERR_IO_ENDED;
 * ERR_IO_SYSTEM
 */
export function enterThread(linux: Linux, caller: Caller, root: number): number {
  const hooks = new ExitHooks(linux);
  const semaphores = new Semaphores(linux, caller.control.shared, SEMAPHORES_AT);
  const { a: thread, b: writeFd } = caller.call(
    CallOp.enter,
    0,
    new Process(linux).threadId(),
    root,
  );
  hooks.addWait(semaphores, thread);
  hooks.addClose(writeFd);
  hooks.addPost(semaphores, THREADS_MAX + thread); // runs first
  caller.call(CallOp.arm, thread);
  return thread;
}
