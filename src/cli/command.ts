/** What a command is. One file a command; commands.ts lists them. */
import type { SettingSpec } from '../host/config.ts';
import type { World } from './world.ts';

export type OptionSpec = SettingSpec;

/** What the user wrote, sorted: options by long name, and the rest. */
export interface Arguments {
  readonly options: ReadonlyMap<string, string | boolean | readonly string[]>;
  readonly positionals: readonly string[];
}

export interface Command {
  readonly name: string;
  /** Half a sentence for the list of commands. */
  readonly summary: string;
  /** Without the program's name: `list [OPTIONS] [NAME...]`. */
  readonly usage: string;
  readonly examples: readonly { readonly line: string; readonly what: string }[];
  /** Besides the common ones. */
  readonly options: readonly OptionSpec[];
  /** Most positional arguments. */
  readonly positionalsMax: number;
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
  { name: 'quiet', short: 'q', help: 'say nothing but errors' },
  { name: 'verbose', short: 'v', help: 'say more: connections that come and go, causes of errors' },
  { name: 'no-color', help: 'no colours, as NO_COLOR=1' },
  { name: 'help', short: 'h', help: 'print this and exit' },
  { name: 'version', help: 'print the version and exit' },
];

/** Exit statuses. After a signal that was not waited for: 128 + its number. */
export const Exit = { ok: 0, failed: 1, usage: 2, notReachable: 3 } as const;

export const flag = (args: Arguments, name: string): boolean => args.options.get(name) === true;

export function text(args: Arguments, name: string): string | null {
  const value = args.options.get(name);
  return typeof value === 'string' ? value : null;
}
