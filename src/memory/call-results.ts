/** The engine's results for calls of the program. */
import { SwapError } from '../base/errors.ts';
import { RangeResult } from '../pager/ops.ts';
import { CallOp, CallResult } from './control-block.ts';

/** True: the call changed nothing, and the error is its result. Other errors end the process. */
export const isCallerError = (error: unknown, op: CallOp): error is SwapError =>
  error instanceof SwapError &&
  (op === CallOp.map ||
    op === CallOp.enter ||
    op === CallOp.adopt ||
    op === CallOp.adoptBuffer ||
    error.code === 'ERR_IO_ENDED' ||
    error.code.startsWith('ERR_ARG_'));

export const callResultOf = (range: RangeResult): CallResult =>
  range === RangeResult.done
    ? CallResult.ok
    : range === RangeResult.noSpace
      ? CallResult.noSpace
      : CallResult.lost;
