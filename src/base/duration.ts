/** Parses durations: a number with a unit, `100ms`, `1s`, `1.5m`, `2h`. */
import { SwapError } from './errors.ts';

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
/** Node's timers and poll(2) take milliseconds in 31 bits. */
const MS_MAX = 2 ** 31 - 1;

/**
 * @param key the option or variable, named in the error
 * @returns whole milliseconds, minMs .. 2^31 - 1
 * @throws SwapError ERR_ARG_VALUE
 */
export function parseDuration(key: string, text: string, minMs: number): number {
  const reject = (why: string): SwapError =>
    new SwapError(
      'ERR_ARG_VALUE',
      `${key}: '${text}' ${why}; give a number with ms, s, m or h, such as '500ms' or '1s'`,
      { key, value: text },
    );
  const [, number = '', unit = ''] = /^(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h)$/.exec(text.trim()) ?? [];
  const scale = unitMs[unit];
  if (scale === undefined) throw reject('is not a valid duration');
  const ms = Math.round(Number(number) * scale);
  if (ms < minMs) throw reject(`is too short: at least ${minMs}ms`);
  if (ms > MS_MAX) throw reject('is too long: at most 596h');
  return ms;
}
