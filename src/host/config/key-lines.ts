/**
 * Finds the line of each key of a TOML document, for messages: the parser does not report them. The document is known to be
 * valid, so this code reads only keys, and skips values by matching brackets and quotes.
 */

const BARE = /[A-Za-z0-9_-]+/y;
const COMMENT = /#[^\n]*/y;
/** Keys longer than this are not settings. */
const PATH_MAX = 4;

/** A path as one string. NUL is not valid in TOML. */
const joined = (path: readonly string[]): string => path.join('\0');

function unquoted(word: string): string {
  if (word.startsWith("'")) return word.slice(1, -1);
  try {
    return String(JSON.parse(word));
  } catch {
    return word.slice(1, -1); // an escape that JSON lacks: the key is not found, and its table's line is used
  }
}

class Scanner {
  readonly #text: string;
  #at = 0;
  #line = 1;
  readonly lines = new Map<string, number>();

  constructor(text: string) {
    this.#text = text;
  }

  /** Moves past a match at this position; returns the text, or null. */
  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? null;
    if (found === null) return null;
    this.#at += found.length;
    return found;
  }

  /** Skips one character; counts lines. */
  #skip(): void {
    if (this.#text[this.#at++] === '\n') this.#line++;
  }

  /** Skips a string of any of the four kinds; returns its text with the quotes. */
  #string(): string {
    const start = this.#at;
    const quote = this.#text[start]!;
    const isLong = this.#text.startsWith(quote.repeat(3), start);
    const end = isLong ? quote.repeat(3) : quote;
    this.#at += end.length;
    while (this.#at < this.#text.length && !this.#text.startsWith(end, this.#at)) {
      if (quote === '"' && this.#text[this.#at] === '\\') this.#skip();
      this.#skip();
    }
    this.#at += end.length;
    // Up to two quotes may precede the closing ones.
    if (isLong) while (this.#text[this.#at] === quote) this.#at++;
    return this.#text.slice(start, this.#at);
  }

  /** Reads `a."b".c`; stops after it. */
  #key(): string[] {
    const path: string[] = [];
    for (;;) {
      const next = this.#text[this.#at];
      if (next === '"' || next === "'") path.push(unquoted(this.#string()));
      else if (next === ' ' || next === '\t' || next === '.') this.#at++;
      else {
        const word = this.#take(BARE);
        if (word === null) return path;
        path.push(word);
      }
    }
  }

  /** The first line of each key and of the tables above it. */
  #note(path: readonly string[], line: number): void {
    for (let length = 1; length <= Math.min(path.length, PATH_MAX); length++) {
      const key = joined(path.slice(0, length));
      if (!this.lines.has(key)) this.lines.set(key, line);
    }
  }

  #skipValue(): void {
    let depth = 0;
    while (this.#at < this.#text.length) {
      const next = this.#text[this.#at];
      if (next === '\n' && depth === 0) return;
      if (next === '"' || next === "'") this.#string();
      else if (next === '#') this.#take(COMMENT);
      else {
        if (next === '[' || next === '{') depth++;
        if (next === ']' || next === '}') depth--;
        this.#skip();
      }
    }
  }

  scan(): void {
    let table: readonly string[] = [];
    while (this.#at < this.#text.length) {
      const next = this.#text[this.#at] ?? '';
      if (/\s|\ufeff/.test(next)) this.#skip();
      else if (next === '#') this.#take(COMMENT);
      else if (next === '[') {
        while (this.#text[this.#at] === '[') this.#at++;
        table = this.#key();
        this.#note(table, this.#line);
        while (this.#text[this.#at] === ']') this.#at++;
        this.#skipValue();
      } else {
        const line = this.#line;
        const key = this.#key();
        if (table.length < PATH_MAX) this.#note([...table, ...key.slice(0, PATH_MAX)], line);
        this.#skipValue();
      }
    }
  }
}

/**
 * The line of a key, counted from 1; if it is not known, the line of the table that contains it.
 * @param text valid TOML
 */
export function keyLines(text: string): (path: readonly string[]) => number {
  const scanner = new Scanner(text);
  scanner.scan();
  return (path) => {
    for (let length = path.length; length > 0; length--) {
      const line = scanner.lines.get(joined(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return 1;
  };
}
