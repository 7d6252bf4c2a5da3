/** `frontswap tmem-destroy`: drops all pools of a user. */
import { askTmemDestroy } from '../host/tmem-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption } from './disks.ts';
import { chosenUser, exitNote } from './tmem-users.ts';

export const tmemDestroyCommand: Command = {
  name: 'tmem-destroy',
  group: 'tmem',
  summary: 'drop all pools of a user with their pages',
  usage: 'tmem-destroy [OPTIONS] UID',
  examples: [{ line: 'frontswap tmem-destroy 1000', what: 'after its processes have ended' }],
  options: [controlOption],
  positionals: 'none',
  positionalsMax: 1,
  notes: [
    'Persistent pages are lost: a process that swapped to them gets I/O errors. Connections stay open, without pools; they may open new ones.',
    exitNote,
  ],
  async run(args, world) {
    const { uid, control } = await chosenUser(args, world);
    const destroyedPools = await askTmemDestroy(control, uid);
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, uid, destroyedPools }, null, 2)}\n`);
    else if (!flag(args, 'quiet'))
      world.stdout.write(`user ${uid}: ${destroyedPools} pools dropped\n`);
    return Exit.ok;
  },
};
