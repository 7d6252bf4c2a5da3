/**
 * Parses and prints sizes as util-linux does (zramctl, mkswap, fallocate): K, Ki and KiB are 1024, KB is 1000,
 * up to P; plain digits are bytes; "1.5G" and ".5G" are valid; case is ignored.
 *
 * Sources: util-linux lib/strutils.c (strtosize, size_to_human_string), zramctl(8).
 */
import { SwapError } from './errors.ts';
import { type ByteCount, bytes } from './units.ts';

const units = 'BKMGTP';
const pattern = /^(?=\.?[0-9])([0-9]{0,32})(?:\.([0-9]{1,32}))?(?:([KMGTP])(IB?|B)?|B)?$/i;
const example = "give bytes, or a number with K, M, G, T or P, such as '512M' or '1.5G'";

const reject = (key: string, text: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${key}: '${text}' ${why}; ${example}`, { key, value: text });

/**
 * @param key the option or setting, named in the error
 * @returns bytes, 0 .. 2^53 - 1, rounded down
 * @throws SwapError ERR_ARG_VALUE
 */
export function parseSize(key: string, text: string): ByteCount {
  const trimmed = text.trim();
  const match = pattern.exec(trimmed);
  if (match === null) {
    throw reject(key, text, whyNot(trimmed));
  }
  const [, whole = '0', fraction = '', unit = 'B', ending = ''] = match;
  if (unit === 'B' && fraction !== '') throw reject(key, text, 'is a fraction of a byte');
  const base = ending.toUpperCase() === 'B' ? 1000n : 1024n;
  const scale = base ** BigInt(units.indexOf(unit.toUpperCase()));
  // bigint: 1.1P needs more digits than a double holds.
  const denominator = 10n ** BigInt(fraction.length);
  const total = (BigInt(whole + fraction) * scale) / denominator;
  if (total > BigInt(Number.MAX_SAFE_INTEGER)) throw reject(key, text, 'is 2^53 bytes or more');
  return bytes(Number(total));
}

function whyNot(text: string): string {
  if (text === '') return 'is empty';
  if (text.startsWith('-')) return 'is negative';
  return /^[0-9]*,[0-9]/.test(text)
    ? 'has a decimal comma instead of a point'
    : 'is not a valid size';
}

/** Formats as zramctl does, in units of 1024 with at most one decimal: 0B, 4K, 312.4M, 1G. */
export function formatSize(size: number): string {
  let exponent = 0;
  let value = size;
  while (value >= 1024 && exponent < units.length - 1) {
    value /= 1024;
    exponent++;
  }
  let tenths = Math.round(value * 10);
  if (tenths === 10240 && exponent < units.length - 1) {
    tenths = 10; // 1023.96K is printed as 1M, not 1024K
    exponent++;
  }
  return `${tenths / 10}${units[exponent]}`;
}
