/** Parses the arguments of a command with node:util parseArgs. Errors name the invalid argument and suggest a valid one. */
import { parseArgs } from 'node:util';
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import {
  type Arguments,
  type Command,
  commonOptions,
  type OptionSpec,
  takesWord,
} from './command.ts';

function unknownOption(rawName: string, name: string, specs: readonly OptionSpec[]): SwapError {
  const names = specs.map((spec) => spec.name);
  const hint = rawName.startsWith('--') ? suggestion(name, names, '--') : '';
  return new SwapError('ERR_ARG_UNKNOWN', `unknown option ${rawName}${hint}`, { key: rawName });
}

const valueError = (key: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${key}: ${why}`, { key });

/** Checks and returns the value of one option. */
function readValue(
  spec: OptionSpec,
  value: string | undefined,
  isInline: boolean | undefined,
): string | true {
  const key = `--${spec.name}`;
  if (spec.value === undefined) {
    if (value !== undefined) throw valueError(key, `does not take a value, but got '${value}'`);
    return true;
  }
  if (value === undefined && spec.isValueOptional === true) return true;
  if (value === undefined) throw valueError(key, `requires a value: ${spec.value}`);
  // In '--limit --run x' the value of --limit is missing; '--run' is not its value.
  if (isInline !== true && value.length > 1 && value.startsWith('-'))
    throw valueError(
      key,
      `requires a value: ${spec.value}; if it is '${value}', write ${key}=${value}`,
    );
  return value;
}

/**
 * Splits the words into those of frontswap and the command line of a program, which starts after `--`, or else at the first
 * word that is neither an option nor the value of one.
 */
export function splitProgram(
  command: Command,
  words: readonly string[],
): readonly [own: readonly string[], program: readonly string[]] {
  if (command.positionals !== 'program') return [words, []];
  const needsValue = (word: string): boolean =>
    command.options.some((option) => takesWord(option) && word === `--${option.name}`);
  let at = 0;
  while (at < words.length) {
    const word = words[at] ?? '';
    if (word === '--') return [words.slice(0, at), words.slice(at + 1)];
    if (!word.startsWith('-')) break;
    at += needsValue(word) ? 2 : 1;
  }
  return [words.slice(0, at), words.slice(at)];
}

/**
 * Only options without a required value may be repeated; the last one takes effect. @throws SwapError ERR_ARG_UNKNOWN,
 * ERR_ARG_VALUE, ERR_ARG_CONFLICT
 */
export function sortArguments(command: Command, argv: readonly string[]): Arguments {
  const specs = [...command.options, ...commonOptions];
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const { tokens } = parseArgs({
    args: [...argv],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      specs.map((spec) => [
        spec.name,
        {
          type: takesWord(spec) ? ('string' as const) : ('boolean' as const),
          multiple: true,
          ...(spec.short === undefined ? {} : { short: spec.short }),
        },
      ]),
    ),
  });
  const options = new Map<string, string | boolean | readonly string[]>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const spec = byName.get(token.name);
    if (spec === undefined) throw unknownOption(token.rawName, token.name, specs);
    const value = readValue(spec, token.value, token.inlineValue);
    const before = options.get(spec.name);
    if (before !== undefined && takesWord(spec) && spec.multiple !== true)
      throw new SwapError(
        'ERR_ARG_CONFLICT',
        `--${spec.name} is given twice: '${String(before)}' and '${String(value)}'`,
        { key: `--${spec.name}` },
      );
    if (spec.multiple === true && typeof value === 'string')
      options.set(spec.name, [...(Array.isArray(before) ? (before as string[]) : []), value]);
    else options.set(spec.name, value);
  }
  return { options, positionals };
}

/** @throws SwapError ERR_ARG_UNKNOWN */
export function checkPositionals(command: Command, args: Arguments): void {
  const extra = args.positionals[command.positionalsMax];
  if (extra !== undefined)
    throw new SwapError('ERR_ARG_UNKNOWN', `unexpected argument '${extra}'`, { value: extra });
}
