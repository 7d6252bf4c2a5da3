/** `frontswap tmem-thaw`: accept the puts of a frozen user again. */
import { askTmemGate } from '../host/tmem-client.ts';
import { type Command, Exit } from './command.ts';
import { controlOption } from './disks.ts';
import { chosenUser, exitNote, printUser } from './tmem-users.ts';

export const tmemThawCommand: Command = {
  name: 'tmem-thaw',
  group: 'tmem',
  summary: 'accept the puts of a frozen user again',
  usage: 'tmem-thaw [OPTIONS] UID',
  examples: [{ line: 'frontswap tmem-thaw 1000', what: 'resume puts' }],
  options: [controlOption],
  positionals: 'none',
  positionalsMax: 1,
  notes: ['Thawing a user that is not frozen has no effect.', exitNote],
  async run(args, world) {
    const { uid, control } = await chosenUser(args, world);
    printUser(args, world, await askTmemGate(control, uid, 'thaw'), 'thawed');
    return Exit.ok;
  },
};
