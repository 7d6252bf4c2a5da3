/** KEY=VALUE words of a command line. */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';

/** KEY=VALUE words as an object. @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN, ERR_ARG_CONFLICT */
export function wordsByKey(
  words: readonly string[],
  keys: readonly string[],
): Record<string, string> {
  if (words.length === 0)
    throw new SwapError('ERR_ARG_VALUE', `KEY=VALUE: choose what to set: ${keys.join(', ')}`, {
      key: 'KEY=VALUE',
    });
  const values = new Map<string, string>();
  for (const word of words) {
    const at = word.indexOf('=');
    const key = word.slice(0, Math.max(0, at));
    if (at < 1)
      throw new SwapError('ERR_ARG_VALUE', `'${word}' is not of the form KEY=VALUE`, {
        value: word,
      });
    if (!keys.includes(key))
      throw new SwapError(
        'ERR_ARG_UNKNOWN',
        `'${key}' cannot be set${suggestion(key, keys)}; keys: ${keys.join(', ')}`,
        { key },
      );
    if (values.has(key))
      throw new SwapError('ERR_ARG_CONFLICT', `'${key}' is given twice`, { key });
    values.set(key, word.slice(at + 1));
  }
  return Object.fromEntries(values);
}
