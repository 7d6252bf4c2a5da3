/** `frontswap tmem-destroy`: drops all pools of a user. */
import { askTmemDestroy } from '../host/tmem-client.ts';
import type { Command } from './command.ts';
import { printDone, userCommand } from './tmem-users.ts';

export const tmemDestroyCommand: Command = userCommand({
  name: 'tmem-destroy',
  summary: 'drop all pools of a user with their pages',
  examples: [{ line: 'frontswap tmem-destroy 1000', what: 'after its processes have ended' }],
  notes: [
    'Persistent pages are lost: a process that swapped to them gets I/O errors. Connections stay open, without pools; they may open new ones.',
  ],
  async work(call) {
    const { uid, control } = call;
    const destroyedPools = await askTmemDestroy(control, uid);
    printDone(call, { uid, destroyedPools }, `${destroyedPools} pools dropped`);
  },
});
