/**
 * Constructors that users can see but only frontswap may call: the classes are exported for `instanceof` and as types.
 * TypeScript declares such a constructor private; this check refuses calls from JavaScript.
 */
import { SwapError } from '../base/errors.ts';

/** The first argument of an internal constructor. No entry point exports it. */
export const INTERNAL: unique symbol = Symbol('internal constructor');

/**
 * @param instead what the user should call
 * @throws SwapError ERR_ARG_CONSTRUCTOR
 */
export function checkInternal(key: unknown, className: string, instead: string): void {
  if (key === INTERNAL) return;
  throw new SwapError(
    'ERR_ARG_CONSTRUCTOR',
    `${className} has no public constructor; call ${instead}`,
    { class: className },
  );
}
