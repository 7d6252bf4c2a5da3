/** `frontswap tmem-freeze`: refuse the puts of a user. */
import { askTmemGate } from '../host/tmem-client.ts';
import type { Command } from './command.ts';
import { printUser, userCommand } from './tmem-users.ts';

export const tmemFreezeCommand: Command = userCommand({
  name: 'tmem-freeze',
  summary: 'refuse the puts of a user',
  examples: [{ line: 'frontswap tmem-freeze 1000', what: 'its memory stops growing' }],
  notes: [
    'Gets and flushes are served. A refused put drops the page stored under its key, so that no get returns an old page.',
  ],
  work: async (call) =>
    printUser(call, await askTmemGate(call.control, call.uid, 'freeze'), 'frozen'),
});
