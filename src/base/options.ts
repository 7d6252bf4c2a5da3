/**
 * Checks options objects of callers: an unknown key is an error, as on the command line. A mistyped key would
 * otherwise select the default, and the default of a range is everything.
 */
import { SwapError } from './errors.ts';
import { suggestion } from './nearest.ts';

/**
 * @param what the name of the object in messages: `openSwap(options)`
 * @param known the allowed keys
 * @throws SwapError ERR_ARG_VALUE: not an object; ERR_ARG_UNKNOWN: an unknown key
 */
export function checkOptions(options: unknown, what: string, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${what} is ${describe(options)}; pass an object with ${known.join(', ')}`,
      { what },
    );
  for (const key of Object.keys(options))
    if (!known.includes(key))
      throw new SwapError(
        'ERR_ARG_UNKNOWN',
        `${what} has no option '${key}'${suggestion(key, known) || `; available options: ${known.join(', ')}`}`,
        { what, key },
      );
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return ['number', 'string', 'boolean', 'bigint'].includes(typeof value)
    ? `the ${typeof value} ${value}`
    : `of type ${typeof value}`;
}
