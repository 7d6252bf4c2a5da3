/** The commands, in the order of help. */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import type { Command, CommandTable } from './command.ts';

const loaders: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./run-program.ts')).runProgramCommand,
  host: async () => (await import('./host.ts')).hostCommand,
  list: async () => (await import('./list.ts')).listCommand,
  attach: async () => (await import('./attach.ts')).attachCommand,
  stat: async () => (await import('./stat.ts')).statCommand,
  top: async () => (await import('./top.ts')).topCommand,
  dashboard: async () => (await import('./dashboard.ts')).dashboardCommand,
  events: async () => (await import('./events.ts')).eventsCommand,
  add: async () => (await import('./add.ts')).addCommand,
  remove: async () => (await import('./remove.ts')).removeCommand,
  set: async () => (await import('./set.ts')).setCommand,
  freeze: async () => (await import('./freeze.ts')).freezeCommand,
  thaw: async () => (await import('./thaw.ts')).thawCommand,
  flush: async () => (await import('./flush.ts')).flushCommand,
  reset: async () => (await import('./reset.ts')).resetCommand,
  reload: async () => (await import('./reload.ts')).reloadCommand,
  check: async () => (await import('./check.ts')).checkCommand,
  import: async () => (await import('./import.ts')).importCommand,
  stop: async () => (await import('./stop.ts')).stopCommand,
  'tmem-list': async () => (await import('./tmem-list.ts')).tmemListCommand,
  'tmem-set': async () => (await import('./tmem-set.ts')).tmemSetCommand,
  'tmem-freeze': async () => (await import('./tmem-freeze.ts')).tmemFreezeCommand,
  'tmem-thaw': async () => (await import('./tmem-thaw.ts')).tmemThawCommand,
  'tmem-destroy': async () => (await import('./tmem-destroy.ts')).tmemDestroyCommand,
  'tmem-save': async () => (await import('./tmem-save.ts')).tmemSaveCommand,
  'tmem-restore': async () => (await import('./tmem-restore.ts')).tmemRestoreCommand,
  'tmem-freeable': async () => (await import('./tmem-freeable.ts')).tmemFreeableCommand,
  doctor: async () => (await import('./doctor.ts')).doctorCommand,
  completion: async () => (await import('./completion.ts')).completionCommand,
  help: async () => (await import('./help.ts')).helpCommand,
  version: async () => (await import('./version.ts')).versionCommand,
};

const names: readonly string[] = Object.keys(loaders);

export const commandTable: CommandTable = {
  names,
  async load(name) {
    const loader = Object.hasOwn(loaders, name) ? loaders[name] : undefined;
    if (loader !== undefined) return loader();
    const hint = suggestion(name, names) || `; available commands: ${names.join(', ')}`;
    throw new SwapError('ERR_ARG_UNKNOWN', `unknown command '${name}'${hint}`, { value: name });
  },
};
