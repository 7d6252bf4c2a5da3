/** What list, attach and reset share: which control socket to ask, and which of its disks are meant. */
import { SwapError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { askDisks } from '../host/control-client.ts';
import type { DiskReport } from '../host/list-document.ts';
import { checkPrivateFolder, controlPathIn, runtimeFolder } from '../host/runtime-folder.ts';
import { type Arguments, flag, type OptionSpec, text } from './command.ts';
import type { World } from './world.ts';

export const controlOption: OptionSpec = {
  name: 'control',
  value: 'PATH',
  help: "the host's control socket (default $FRONTSWAP_CONTROL, else where a host of yours puts it)",
};

/** Asks the host. @throws SwapError ERR_IO_NOT_REACHABLE, ERR_IO_UNSAFE_PATH, ERR_PEER_PROTOCOL */
export async function reportedDisks(args: Arguments, world: World): Promise<readonly DiskReport[]> {
  return (await askDisks(controlPath(args, world))).disks;
}

/** The control socket of the host that is meant. @throws SwapError ERR_IO_UNSAFE_PATH */
export function controlPath(args: Arguments, world: World): string {
  const told = text(args, 'control') ?? world.env['FRONTSWAP_CONTROL'] ?? '';
  const path = told === '' ? defaultControlPath(world) : told;
  if (flag(args, 'verbose')) world.stderr.write(`asking the host on ${path}\n`);
  return path;
}

/** Where a host of this user's puts it. Somebody else's folder of that name is not believed. */
function defaultControlPath(world: World): string {
  const folder = runtimeFolder(world.env, world.uid);
  checkPrivateFolder(folder, world.uid);
  return controlPathIn(folder);
}

/** @throws SwapError ERR_ARG_UNKNOWN */
export function diskNamed(name: string, disks: readonly DiskReport[]): DiskReport {
  const found = disks.find((disk) => disk.name === name);
  if (found !== undefined) return found;
  const names = disks.map((disk) => disk.name);
  const near = nearest(name, names);
  const hint = near === null ? `; there is ${names.join(', ')}` : `; did you mean '${near}'?`;
  throw new SwapError('ERR_ARG_UNKNOWN', `the host has no disk '${name}'${hint}`, { value: name });
}
