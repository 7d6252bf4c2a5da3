/** How messages show a key or a value of a file or flag: short, on one line, never a whole table. */
import { printable } from '../../base/printable.ts';

const LENGTH_MAX = 80;

/** A table of TOML; dates are objects, too. */
export const isTable = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

const cut = (text: string): string =>
  text.length > LENGTH_MAX ? `${text.slice(0, LENGTH_MAX)}...` : text;

export const shownKey = (key: string): string => printable(cut(key));

export function shownValue(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Date) return 'a date';
  if (typeof value === 'object') return 'a table';
  return `'${cut(printable(String(value)))}'`;
}
