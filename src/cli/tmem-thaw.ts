/** `frontswap tmem-thaw`: accept the puts of a frozen user again. */
import { askTmemGate } from '../host/tmem-client.ts';
import type { Command } from './command.ts';
import { printUser, userCommand } from './tmem-users.ts';

export const tmemThawCommand: Command = userCommand({
  name: 'tmem-thaw',
  summary: 'accept the puts of a frozen user again',
  examples: [{ line: 'frontswap tmem-thaw 1000', what: 'resume puts' }],
  notes: ['Thawing a user that is not frozen has no effect.'],
  work: async (call) =>
    printUser(call, await askTmemGate(call.control, call.uid, 'thaw'), 'thawed'),
});
