/** The interface of a command. Each command has its own file; commands.ts lists them. */
import type { SettingSpec } from '../host/config/schema.ts';
import type { World } from './world.ts';

export type OptionSpec = SettingSpec;

/** Whether the next word is the value of the option. */
export const takesWord = ({ value, isValueOptional }: OptionSpec): boolean =>
  value !== undefined && isValueOptional !== true;

/** Parsed arguments: options by long name, and positional arguments. */
export interface Arguments {
  readonly options: ReadonlyMap<string, string | boolean | readonly string[]>;
  readonly positionals: readonly string[];
}

/** The kind of the positional arguments, for completion. `program`: the command line of a program. */
type Positionals = 'disk' | 'file' | 'command' | 'shell' | 'program' | 'none';

/** The group of a command in the overview. */
export type Group = 'memory' | 'disk' | 'tmem' | 'general';

export interface Command {
  readonly name: string;
  readonly group: Group;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Without the name of the program: `list [OPTIONS] [NAME...]`. */
  readonly usage: string;
  readonly examples: readonly { readonly line: string; readonly what: string }[];
  /** Options in addition to the common ones. */
  readonly options: readonly OptionSpec[];
  readonly positionals: Positionals;
  /** Maximum number of positional arguments. */
  readonly positionalsMax: number;
  /** More words with their meaning: the columns of `list`. */
  readonly table?: {
    readonly title: string;
    readonly rows: readonly (readonly [word: string, meaning: string])[];
  };
  /** Paragraphs at the end of the help, without line breaks. */
  readonly notes: readonly string[];
  /** @returns the exit status; throws SwapError */
  run(args: Arguments, world: World, table: CommandTable): Promise<number>;
}

/** All commands. A command is loaded when it is called. */
export interface CommandTable {
  /** In the order of help. */
  readonly names: readonly string[];
  /** @throws SwapError ERR_ARG_UNKNOWN */
  load(name: string): Promise<Command>;
}

/** Options of every command. */
export const commonOptions: readonly OptionSpec[] = [
  { name: 'json', help: 'print JSON, a stable format' },
  { name: 'quiet', short: 'q', help: 'print only errors' },
  { name: 'verbose', short: 'v', help: 'print connections and causes of errors' },
  { name: 'no-color', help: 'print without colours, like NO_COLOR=1' },
  { name: 'help', short: 'h', help: 'print this help and exit' },
  { name: 'version', short: 'V', help: 'print the version and exit' },
];

/** Exit statuses. 128 + n: ended by signal n. */
export const Exit = {
  ok: 0,
  failed: 1,
  usage: 2,
  notReachable: 3,
  notExecutable: 126,
  notFound: 127,
} as const;

export const flag = (args: Arguments, name: string): boolean => args.options.get(name) === true;

export function text(args: Arguments, name: string): string | null {
  const value = args.options.get(name);
  return typeof value === 'string' ? value : null;
}
