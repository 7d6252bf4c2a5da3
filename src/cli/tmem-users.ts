/** What the commands about the tmem socket share. */
import { SwapError } from '../base/errors.ts';
import type { TmemUserReport } from '../host/parts.ts';
import { parseUid } from '../host/tmem-routes.ts';
import { type Arguments, flag } from './command.ts';
import { onlyHost } from './disks.ts';
import type { World } from './world.ts';

export const exitNote =
  'Exit status: 0 done, 1 refused or failed, 2 wrong usage or no such user, 3 no host answers.';

/** The user named by the argument, and the control socket of the host. @throws SwapError as onlyHost(); ERR_ARG_VALUE */
export async function chosenUser(
  args: Arguments,
  world: World,
): Promise<{ readonly uid: number; readonly control: string }> {
  const word = args.positionals[0];
  if (word === undefined)
    throw new SwapError('ERR_ARG_VALUE', "UID: choose a user; see 'frontswap tmem-list'", {
      key: 'UID',
    });
  const uid = parseUid('UID', word);
  return { uid, control: (await onlyHost(args, world, false)).control };
}

/** Prints the user as it is after an operation. */
export function printUser(args: Arguments, world: World, user: TmemUserReport, what: string): void {
  if (flag(args, 'json'))
    world.stdout.write(`${JSON.stringify({ schemaVersion: 1, user }, null, 2)}\n`);
  else if (!flag(args, 'quiet')) world.stdout.write(`user ${user.uid}: ${what}\n`);
}
