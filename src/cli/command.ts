/** The interface of a command. Each command has its own file; commands.ts lists them. */
import type { SettingSpec } from '../host/config.ts';
import type { World } from './world.ts';

export type OptionSpec = SettingSpec;

/** What the user wrote, sorted: options by long name, and the rest. */
export interface Arguments {
  readonly options: ReadonlyMap<string, string | boolean | readonly string[]>;
  readonly positionals: readonly string[];
}

/** What a positional argument is, for completion; `program`: the first one and all that follows belong to a program. */
type Positionals = 'disk' | 'command' | 'shell' | 'program' | 'none';

/** The part of frontswap that a command belongs to: a heading of the overview. */
export type Group = 'memory' | 'disk' | 'general';

export interface Command {
  readonly name: string;
  readonly group: Group;
  /** Short description for the list of commands. */
  readonly summary: string;
  /** Without the program's name: `list [OPTIONS] [NAME...]`. */
  readonly usage: string;
  readonly examples: readonly { readonly line: string; readonly what: string }[];
  /** Besides the common ones. */
  readonly options: readonly OptionSpec[];
  readonly positionals: Positionals;
  /** Most positional arguments. */
  readonly positionalsMax: number;
  /** Words with their meaning, besides the options: the columns of `list`. */
  readonly table?: {
    readonly title: string;
    readonly rows: readonly (readonly [word: string, meaning: string])[];
  };
  /** Paragraphs for the end of the help, without line breaks. */
  readonly notes: readonly string[];
  /** @returns exit status; throws SwapError for what goes wrong */
  run(args: Arguments, world: World, table: CommandTable): Promise<number>;
}

/** All commands; each is loaded when it is called, so start-up pays for one. */
export interface CommandTable {
  /** In the order of help. */
  readonly names: readonly string[];
  /** @throws SwapError ERR_ARG_UNKNOWN */
  load(name: string): Promise<Command>;
}

/** Every command takes these. */
export const commonOptions: readonly OptionSpec[] = [
  { name: 'json', help: 'print JSON, a stable format' },
  { name: 'quiet', short: 'q', help: 'print only errors' },
  { name: 'verbose', short: 'v', help: 'print more: connections, causes of errors' },
  { name: 'no-color', help: 'no colours, as NO_COLOR=1' },
  { name: 'help', short: 'h', help: 'print this and exit' },
  { name: 'version', short: 'V', help: 'print the version and exit' },
];

/** Exit statuses. After a signal that was not waited for: 128 + its number. */
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
