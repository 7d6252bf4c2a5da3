/** `frontswap tmem-freeze`: refuse the puts of a user. */
import { askTmemGate } from '../host/tmem-client.ts';
import { type Command, Exit } from './command.ts';
import { controlOption } from './disks.ts';
import { chosenUser, exitNote, printUser } from './tmem-users.ts';

export const tmemFreezeCommand: Command = {
  name: 'tmem-freeze',
  group: 'tmem',
  summary: 'refuse the puts of a user',
  usage: 'tmem-freeze [OPTIONS] UID',
  examples: [{ line: 'frontswap tmem-freeze 1000', what: 'its memory stops growing' }],
  options: [controlOption],
  positionals: 'none',
  positionalsMax: 1,
  notes: [
    'Gets and flushes are served. A refused put drops the page stored under its key, so that no get returns an old page.',
    exitNote,
  ],
  async run(args, world) {
    const { uid, control } = await chosenUser(args, world);
    printUser(args, world, await askTmemGate(control, uid, 'freeze'), 'frozen');
    return Exit.ok;
  },
};
