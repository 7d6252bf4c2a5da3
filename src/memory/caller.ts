/**
 * Calls of a thread to the fault thread through the control block: results become values, failures become errors.
 *
 * Cost: some tens of microseconds; the caller sleeps until the call has completed.
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

  /**
   * Arguments and results depend on the op: see engine.ts.
   * @throws SwapError ERR_IO_ENDED, ERR_IO_NO_ROOM, ERR_IO_LOST, or the error of the op
   */
  call(
    op: CallOp,
    region: number,
    ...args: readonly number[]
  ): { readonly a: number; readonly b: number } {
    if (!this.isRunning)
      throw new SwapError('ERR_IO_ENDED', 'the swap has been disposed of', { reason: 'disposed' });
    const slot = this.control.call(op, region, args, this.#ring);
    try {
      const result = this.control.result(slot);
      if (result !== CallResult.ok) throw errorOf(result, this.control.text(slot));
      const [a, b] = this.control.numbers(slot) as unknown as [number, number];
      return { a, b };
    } finally {
      this.control.free(slot);
    }
  }
}

function errorOf(result: CallResult, text: string): SwapError {
  if (result === CallResult.noSpace)
    return new SwapError(
      'ERR_IO_NO_ROOM',
      'pin(range): more than seven eighths of the resident budget would be pinned; pin less at a time, or raise residentBytes',
    );
  if (result === CallResult.lost)
    return new SwapError(
      'ERR_IO_LOST',
      'a page of the range could not be read back; discard() makes it zeros',
    );
  return parseError(text) ?? new SwapError('ERR_IO_SYSTEM', text);
}

/** Parses an error in the fault thread's format `CODE: message`; null: the text has no code. */
export function parseError(text: string): SwapError | null {
  const [, code, message] = /^(ERR_[A-Z_]+): (.*)$/s.exec(text) ?? [];
  return code === undefined || message === undefined
    ? null
    : new SwapError(code as SwapError['code'], message);
}
