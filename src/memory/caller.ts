/**
 * A thread's way to the fault thread: calls over the control block, answers turned into values and errors.
 *
 * Cost: some tens of microseconds; the caller sleeps until it is answered.
 */
import { SwapError } from '../base/errors.ts';
import { EventFd } from '../os/linux/eventfd.ts';
import type { Linux } from '../os/linux/system-call.ts';
import { type CallOp, CallResult, type ControlBlock, EngineState } from './control-block.ts';

export class Caller {
  readonly control: ControlBlock;
  readonly #doorbell: EventFd;

  readonly #ring = (): void => this.ring();

  constructor(linux: Linux, control: ControlBlock) {
    this.control = control;
    this.#doorbell = new EventFd(linux, control.doorbell);
  }

  get isRunning(): boolean {
    return this.control.state === EngineState.running;
  }

  /** Wakes the fault thread. */
  ring(): void {
    this.#doorbell.signal();
  }

  /** The op's results; see engine.ts. */
  call(
    op: CallOp,
    region: number,
    w = 0,
    x = 0,
    y = 0,
    z = 0,
  ): { readonly a: number; readonly b: number } {
    if (!this.isRunning)
      throw new SwapError('ERR_IO_ENDED', 'the swap has been disposed of', { reason: 'disposed' });
    const slot = this.control.call(op, region, w, x, y, z, this.#ring);
    try {
      const answer = this.control.answer(slot);
      if (answer !== CallResult.ok) throw errorOf(answer, this.control.text(slot));
      const [a, b] = this.control.numbers(slot) as unknown as [number, number];
      return { a, b };
    } finally {
      this.control.free(slot);
    }
  }
}

function errorOf(answer: CallResult, text: string): SwapError {
  if (answer === CallResult.noRoom)
    return new SwapError(
      'ERR_IO_NO_ROOM',
      'more would be pinned than seven eighths of the resident budget: pin less at once, or give the region more',
    );
  if (answer === CallResult.lost)
    return new SwapError('ERR_IO_LOST', 'a page of the range could not be brought back');
  const [, code, said] = /^(ERR_[A-Z_]+): (.*)$/s.exec(text) ?? [];
  if (code === undefined || said === undefined) return new SwapError('ERR_IO_SYSTEM', text);
  return new SwapError(code as SwapError['code'], said);
}
