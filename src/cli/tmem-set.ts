/** `frontswap tmem-set`: changes the weight, the cap or the compression of a user of the tmem socket. */
import { askTmemSet } from '../host/tmem-client.ts';
import { parseTmemChange, tmemKeys } from '../host/tmem-routes.ts';
import { type Command, Exit } from './command.ts';
import { controlOption } from './disks.ts';
import { wordsByKey } from './key-words.ts';
import { chosenUser, exitNote, printUser } from './tmem-users.ts';

export const tmemSetCommand: Command = {
  name: 'tmem-set',
  group: 'tmem',
  summary: 'change the weight, cap or compression of a user',
  usage: 'tmem-set [OPTIONS] UID KEY=VALUE...',
  examples: [
    { line: 'frontswap tmem-set 1000 cap=65536', what: 'at most 256 MiB of pages' },
    { line: 'frontswap tmem-set 1000 weight=3', what: 'three times the share of others' },
  ],
  options: [controlOption],
  positionals: 'none',
  positionalsMax: 1 + tmemKeys.length,
  table: {
    title: 'Keys',
    rows: [
      [
        'weight',
        'share of the memory for ephemeral pages, 0 to 1048576 (default 1). Pages are evicted first from users with weight 0, then from the user that exceeds its share by the largest factor',
      ],
      [
        'cap',
        'maximum number of pages, 0 for no maximum. A lower cap evicts ephemeral pages immediately; persistent pages stay, and puts are refused',
      ],
      ['compress', 'on or off: whether to compress pages that are put from now on'],
    ],
  },
  notes: [
    'The settings last as long as the host runs, and can be set before the user connects.',
    exitNote,
  ],
  async run(args, world) {
    const values = wordsByKey(args.positionals.slice(1), tmemKeys);
    parseTmemChange('', new Map(Object.entries(values))); // reports invalid values before a request
    const { uid, control } = await chosenUser(args, world);
    const user = await askTmemSet(control, uid, values);
    const { weight, cap, compress } = user;
    const limit = cap === 0 ? 'none' : String(cap);
    printUser(
      args,
      world,
      user,
      `weight ${weight}, cap ${limit}, compress ${compress ? 'on' : 'off'}`,
    );
    return Exit.ok;
  },
};
