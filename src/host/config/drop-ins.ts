/**
 * Finds the drop-ins of a configuration file, `FILE.d/*.toml`. For a file below /etc, the drop-ins in /usr/lib and /run count,
 * too. All are sorted by name; of several files with one name, the first in the order /etc, /run, /usr/lib is used
 * (systemd.unit(5)).
 */
import { readdirSync, realpathSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { SwapError } from '../../base/errors.ts';
import { errnoOf, systemError } from '../../os/system-error.ts';
import { refuseForeign, trustedOwners } from './open-path.ts';
import type { Problems } from './problems.ts';

export const DROP_INS_MAX = 64;

/** The folders of drop-ins, highest priority first. */
export function dropInFolders(file: string, root = '/'): readonly string[] {
  const path = resolve(file);
  const etc = join(root, 'etc');
  const inside = relative(etc, path);
  if (inside.startsWith('..') || inside === path) return [`${path}.d`];
  return [etc, join(root, 'run'), join(root, 'usr/lib')].map((at) => `${join(at, inside)}.d`);
}

function namesIn(folder: string, owners: readonly number[]): readonly string[] {
  try {
    refuseForeign(folder, statSync(folder), owners);
    return readdirSync(folder).filter((name) => name.endsWith('.toml') && !name.startsWith('.'));
  } catch (cause) {
    if (cause instanceof SwapError) throw cause;
    if (errnoOf(cause) === 'ENOENT') return [];
    throw systemError(`read ${folder}`, cause, 'remove it, or let this user read it');
  }
}

/** A link to /dev/null masks the files with its name in folders of lower priority. */
function isMask(path: string): boolean {
  try {
    return realpathSync(path) === '/dev/null';
  } catch {
    return false; // a dangling link: reading it reports the error
  }
}

/** The paths of the drop-ins, in reading order. */
export function dropInsOf(file: string, problems: Problems, root = '/'): readonly string[] {
  const paths = new Map<string, string>();
  const owners = trustedOwners(file);
  for (const folder of dropInFolders(file, root))
    for (const name of problems.attempt(() => namesIn(folder, owners)) ?? [])
      if (!paths.has(name)) paths.set(name, join(folder, name));
  const names = [...paths.keys()].sort();
  if (names.length > DROP_INS_MAX) {
    const why = `has ${names.length} drop-ins: at most ${DROP_INS_MAX} are read`;
    problems.add(() => new SwapError('ERR_ARG_VALUE', `${file}: ${why}`, { file }));
    return [];
  }
  return names.map((name) => paths.get(name)!).filter((path) => !isMask(path));
}
