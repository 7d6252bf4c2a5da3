/** What bench, fuzz, soak, stress and pictures share: --help, clear errors for wrong arguments, progress on a terminal. */
import { type ParseArgsConfig, parseArgs } from 'node:util';

type Options = NonNullable<ParseArgsConfig['options']>;
type Parsed<O extends Options> = ReturnType<
  typeof parseArgs<{ options: O & { help: { type: 'boolean' } }; allowPositionals: true }>
>;

const WRONG_ARGUMENTS = 2;

/** Prints what is wrong with the arguments, and ends the program with status 2. */
export function refuse(tool: string, why: string): never {
  console.error(`${tool}: ${why}\nSee 'npm run ${tool} -- --help'.`);
  process.exit(WRONG_ARGUMENTS);
}

/** Reads the arguments of the program. Ends it with status 0 after --help, with 2 if an option is unknown. */
export function parseTool<const O extends Options>(
  tool: string,
  help: string,
  options: O,
): Parsed<O> {
  try {
    const all = { ...options, help: { type: 'boolean' as const, short: 'h' } };
    const parsed = parseArgs({ options: all, allowPositionals: true });
    const { help: isHelp } = parsed.values as { readonly help?: boolean };
    if (isHelp !== true) return parsed as unknown as Parsed<O>;
    console.log(help);
    process.exit(0);
  } catch (error) {
    refuse(tool, error instanceof Error ? (error.message.split('. ')[0] ?? '') : String(error));
  }
}

/** The number in `text`. Ends the program if it is not a number above 0, or not whole where that is required. */
export function positive(tool: string, option: string, text: string, isWhole = true): number {
  const value = Number(text);
  if (value > 0 && (!isWhole || Number.isSafeInteger(value))) return value;
  return refuse(tool, `--${option} '${text}' is not a ${isWhole ? 'whole ' : ''}number above 0`);
}

/** A line on standard error that is rewritten in place; nothing if that is not a terminal. */
export class Progress {
  readonly #isShown: boolean = process.stderr.isTTY === true;
  #atMs = 0;

  /** At most four times a second. */
  show(text: string): void {
    const now = performance.now();
    if (!this.#isShown || now - this.#atMs < 250) return;
    this.#atMs = now;
    process.stderr.write(`\r\x1b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }

  end(): void {
    if (this.#isShown && this.#atMs > 0) process.stderr.write('\r\x1b[K');
  }
}
