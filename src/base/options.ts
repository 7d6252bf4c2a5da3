/**
 * Checks options objects of callers: an unknown key is an error, as on the command line. Otherwise a mistyped key
 * would select the default, and the default of a range is everything.
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

/** Allowed values of a whole number: min .. max, and a multiple of `multipleOf`. */
export interface IntegerRange {
  readonly min: number;
  readonly max?: number;
  readonly multipleOf?: number;
}

/**
 * @param what the name of the function or object in messages: `new Budget()`
 * @param name the name of the argument or option
 * @throws SwapError ERR_ARG_VALUE: not a whole number, out of range, or not a multiple
 */
export function checkInteger(
  what: string,
  name: string,
  value: unknown,
  { min, max = Number.MAX_SAFE_INTEGER, multipleOf = 1 }: IntegerRange,
): void {
  const isNumber = typeof value === 'number';
  if (isNumber && value >= min && value <= max && value % multipleOf === 0) return;
  const kind = multipleOf === 1 ? 'whole number' : `multiple of ${multipleOf}`;
  throw new SwapError(
    'ERR_ARG_VALUE',
    `${what}: ${name} is ${describe(value)}; pass a ${kind} from ${min} to ${max}`,
    { what, [name]: String(value) },
  );
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return ['number', 'string', 'boolean', 'bigint'].includes(typeof value)
    ? `the ${typeof value} ${value}`
    : `of type ${typeof value}`;
}
