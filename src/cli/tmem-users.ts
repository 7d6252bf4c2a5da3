/** What the commands about one user of the tmem socket share. */
import { SwapError } from '../base/errors.ts';
import type { TmemUserReport } from '../host/parts.ts';
import { parseUid } from '../host/tmem-routes.ts';
import { type Arguments, type Command, Exit, flag } from './command.ts';
import { controlOption, onlyHost } from './disks.ts';
import type { World } from './world.ts';

export const exitNote =
  'Exit status: 0 done, 1 refused or failed, 2 wrong usage or no such user, 3 no host answers.';

/** What a command about a user is about, and where it prints. */
export interface UserCommandCall {
  readonly uid: number;
  /** The control socket of the host. */
  readonly control: string;
  /** The words after the user. */
  readonly words: readonly string[];
  readonly args: Arguments;
  readonly world: World;
}

export interface UserCommandOptions
  extends Pick<Command, 'name' | 'summary' | 'examples' | 'notes' | 'table'> {
  /** Options besides --control. */
  readonly options?: Command['options'];
  /** Words after the user, as in the usage, and their maximum number. */
  readonly words?: { readonly usage: string; readonly max: number };
  readonly positionals?: Command['positionals'];
  /** Reports invalid words before the host is asked. */
  readonly check?: (words: readonly string[], args: Arguments) => void;
  readonly work: (call: UserCommandCall) => Promise<void>;
}

/** A command whose first argument is the id of a user. */
export const userCommand = ({
  words = { usage: '', max: 0 },
  options = [],
  positionals = 'none',
  check,
  work,
  notes,
  ...about
}: UserCommandOptions): Command => ({
  ...about,
  group: 'tmem',
  usage: `${about.name} [OPTIONS] UID${words.usage === '' ? '' : ` ${words.usage}`}`,
  options: [...options, controlOption],
  positionals,
  positionalsMax: 1 + words.max,
  notes: [...notes, exitNote],
  async run(args, world) {
    const [first, ...rest] = args.positionals;
    check?.(rest, args);
    if (first === undefined)
      throw new SwapError('ERR_ARG_VALUE', "UID: choose a user; see 'frontswap tmem-list'", {
        key: 'UID',
      });
    const uid = parseUid('UID', first);
    const { control } = await onlyHost(args, world, false);
    await work({ uid, control, words: rest, args, world });
    return Exit.ok;
  },
});

/** Prints a document as JSON, or a line about the user. */
export function printDone(
  { uid, args, world }: Pick<UserCommandCall, 'uid' | 'args' | 'world'>,
  document: object,
  what: string,
): void {
  if (flag(args, 'json'))
    world.stdout.write(`${JSON.stringify({ schemaVersion: 1, ...document }, null, 2)}\n`);
  else if (!flag(args, 'quiet')) world.stdout.write(`user ${uid}: ${what}\n`);
}

/** Prints the user as it is after an operation. */
export const printUser = (call: UserCommandCall, user: TmemUserReport, what: string): void =>
  printDone(call, { user }, what);
