/**
 * The control sockets of hosts without --control, in the user's runtime folder:
 *
 *   control.sock     control.pid       the first host
 *   control-2.sock   control-2.pid     the second, and so on
 *   host-XXXXXX/control.sock           a host with --run
 *
 * A host takes the first free name and reserves it with a lock on the pid file; the lock ends with the process. So hosts that
 * start at the same moment never take the same name, and a new host replaces the socket of a dead one.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SwapError } from '../base/errors.ts';
import { checkSocketPath, controlSocketPath } from '../os/unix-socket.ts';
import { checkPidFile, PidFile } from './pid-file.ts';
import { PRIVATE_PREFIX } from './runtime-folder.ts';

/** Maximum number of names; more hosts need --control. */
const NAMES_MAX = 99;

const stem = (folder: string, n: number): string =>
  join(folder, n === 1 ? 'control' : `control-${n}`);

/** The control socket of the nth host; n >= 1. */
export const controlPathIn = (folder: string, n = 1): string => `${stem(folder, n)}.sock`;

/** Whether to try the next name: another process uses this one, or its path is not a socket. */
const isTaken = (error: unknown): boolean =>
  error instanceof SwapError && error.code === 'ERR_IO_IN_USE';

/** Calls `take` with increasing numbers until it does not fail with ERR_IO_IN_USE. */
async function firstFree<T>(folder: string, take: (n: number) => Promise<T>): Promise<T> {
  for (let n = 1; n <= NAMES_MAX; n++) {
    try {
      return await take(n);
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
  }
  throw new SwapError(
    'ERR_IO_IN_USE',
    `all names from ${controlPathIn(folder)} to ${controlPathIn(folder, NAMES_MAX)} are in use; ` +
      'choose a path with --control, or disable the control socket with --no-control',
    { folder },
  );
}

export interface ControlName {
  readonly path: string;
  /** Reserves the name until it is removed. */
  readonly pidFile: PidFile;
  /** 1 or more. */
  readonly number: number;
}

/** Takes the first free name in a private folder. @throws SwapError ERR_IO_IN_USE, ERR_IO_SYSTEM */
export const takeControlName = (folder: string): Promise<ControlName> =>
  firstFree(folder, async (number) => {
    const path = controlPathIn(folder, number);
    const pidFile = PidFile.write(`${stem(folder, number)}.pid`);
    try {
      // A host that was started with --control and this path has no pid file.
      await checkSocketPath(controlSocketPath(path, true));
    } catch (error) {
      pidFile.remove();
      throw error;
    }
    return { path, pidFile, number };
  });

/** Checks whether takeControlName() would succeed now. Changes nothing. @throws SwapError as takeControlName() */
export const checkControlNames = (folder: string): Promise<void> =>
  firstFree(folder, async (number) => {
    checkPidFile(`${stem(folder, number)}.pid`);
    await checkSocketPath(controlSocketPath(controlPathIn(folder, number), true));
  });

/** Paths where hosts of this user may listen: first by name, then those of hosts with --run. */
export function controlPathsIn(folder: string): readonly string[] {
  const numberOf = (name: string): number =>
    Number(/^control(?:-([1-9][0-9]?))?\.sock$/.exec(name)?.[1] ?? 1);
  let names: readonly string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  const named = names.filter((name) => /^control(-[1-9][0-9]?)?\.sock$/.test(name));
  const privateFolders = names.filter((name) => name.startsWith(PRIVATE_PREFIX)).sort();
  return [
    ...[...named].sort((a, b) => numberOf(a) - numberOf(b)).map((name) => join(folder, name)),
    ...privateFolders.map((name) => join(folder, name, 'control.sock')),
  ];
}
