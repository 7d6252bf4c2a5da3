/** Finds duplicate keys in JSON; JSON.parse silently uses the last one. */

/**
 * @param text valid JSON
 * @returns the first duplicate key of the outermost object, or null
 */
export function repeatedKey(text: string): string | null {
  const seen = new Set<string>();
  let depth = 0;
  for (const [token, , colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (depth === 1 && colon !== undefined) {
      const key: unknown = JSON.parse(token.slice(0, token.length - colon.length));
      if (seen.has(String(key))) return String(key);
      seen.add(String(key));
    }
  }
  return null;
}
