/**
 * Makes text from another process or machine safe for a log or a terminal: one line, without control sequences and
 * without characters that change the direction of the text.
 */

/** Control characters, format characters (bidirectional overrides, zero-width ones), line and paragraph separators. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * Escapes each unsafe character as \x1b or \u{202e}.
 * @param unsafe a global pattern of single characters
 */
export const printable = (text: string, unsafe: RegExp = UNSAFE): string =>
  text.replace(unsafe, (character) => {
    const digits = (character.codePointAt(0) ?? 0).toString(16);
    return digits.length > 2 ? `\\u{${digits}}` : `\\x${digits.padStart(2, '0')}`;
  });
