/** The commands, in the order of help. */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import type { Command, CommandTable } from './command.ts';

const loaders: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./run-program.ts')).runProgramCommand,
  host: async () => (await import('./host.ts')).hostCommand,
  list: async () => (await import('./list.ts')).listCommand,
  attach: async () => (await import('./attach.ts')).attachCommand,
  reset: async () => (await import('./reset.ts')).resetCommand,
  stop: async () => (await import('./stop.ts')).stopCommand,
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
