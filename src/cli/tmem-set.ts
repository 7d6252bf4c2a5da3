/** `frontswap tmem-set`: changes the weight, the cap or the compression of a user of the tmem socket. */
import { askTmemSet } from '../host/tmem-client.ts';
import { parseTmemChange, tmemKeys } from '../host/tmem-routes.ts';
import type { Command } from './command.ts';
import { wordsByKey } from './key-words.ts';
import { printUser, userCommand } from './tmem-users.ts';

export const tmemSetCommand: Command = userCommand({
  name: 'tmem-set',
  summary: 'change the weight, cap or compression of a user',
  words: { usage: 'KEY=VALUE...', max: tmemKeys.length },
  examples: [
    { line: 'frontswap tmem-set 1000 cap=65536', what: 'at most 256 MiB of pages' },
    { line: 'frontswap tmem-set 1000 weight=3', what: 'three times the share of others' },
  ],
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
  notes: ['The settings last as long as the host runs, and can be set before the user connects.'],
  check: (words) => void changeOf(words),
  async work(call) {
    const user = await askTmemSet(call.control, call.uid, changeOf(call.words));
    const { weight, cap, compress } = user;
    const limit = cap === 0 ? 'none' : String(cap);
    printUser(call, user, `weight ${weight}, cap ${limit}, compress ${compress ? 'on' : 'off'}`);
  },
});

/** The body of the request. @throws SwapError as wordsByKey(), parseTmemChange() */
function changeOf(words: readonly string[]): object {
  const values = wordsByKey(words, tmemKeys);
  parseTmemChange('', new Map(Object.entries(values)));
  return values;
}
