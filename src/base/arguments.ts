/** Range checks of arguments in the public API. Each message names the argument, its value and the allowed range. */
import { SwapError } from './errors.ts';
import { PAGE_BYTES } from './units.ts';

/** @throws SwapError ERR_ARG_VALUE */
export function checkInteger(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  const text = `${name} is ${describe(value)}; use an integer from ${min} to ${max}`;
  throw new SwapError('ERR_ARG_VALUE', text, { name, value: String(value) });
}

/** @throws SwapError ERR_ARG_VALUE */
export function checkChoice(name: string, value: unknown, choices: readonly unknown[]): void {
  if (choices.includes(value)) return;
  const text = `${name} is ${describe(value)}; use ${choices.map(describe).join(', ')}`;
  throw new SwapError('ERR_ARG_VALUE', text, { name, value: String(value) });
}

const describe = (value: unknown): string =>
  typeof value === 'string' ? `'${value}'` : String(value);

/**
 * Checks that `array` has a page at [at, at + 4096).
 * @throws SwapError ERR_ARG_VALUE
 */
export function checkPage(array: Uint8Array, at: number): void {
  if (!(at >= 0 && at + PAGE_BYTES <= array.length))
    checkInteger('offset of the page', at, 0, array.length - PAGE_BYTES);
}
