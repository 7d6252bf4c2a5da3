/**
 * Default folder of sockets: only this user can enter it.
 *
 *   root        /run/frontswap
 *   a user      $XDG_RUNTIME_DIR/frontswap
 *   without it  /tmp/frontswap-UID   (another user can create that folder first, so its owner is checked)
 *
 * Invariant: nothing is created in a folder that another user owns or may write to.
 */
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SwapError } from '../base/errors.ts';
import { systemError } from '../os/system-error.ts';
import { ifOwnerIsDead } from './pid-file.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export function runtimeFolder(env: Environment, uid: number): string {
  if (uid === 0) return '/run/frontswap';
  const base = env['XDG_RUNTIME_DIR'];
  if (base?.startsWith('/')) return join(base, 'frontswap');
  return join(tmpdir(), `frontswap-${uid}`);
}

/**
 * Makes the folder with mode 0700 unless it is there, and checks it either way.
 * @throws SwapError ERR_IO_SYSTEM, ERR_IO_UNSAFE_PATH
 */
export function makePrivateFolder(path: string, uid: number): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw systemError(`make the folder ${path}`, cause, 'say where with --control and --unix');
  }
  checkPrivateFolder(path, uid);
}

/**
 * Checks that a folder is this user's alone to write to; one that is not there passes.
 * @throws SwapError ERR_IO_UNSAFE_PATH
 */
export function checkPrivateFolder(path: string, uid: number): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  const reject = (why: string): SwapError =>
    new SwapError(
      'ERR_IO_UNSAFE_PATH',
      `${path} ${why}; remove it, or choose places with --control and --unix`,
      { path, uid: stat.uid, mode: stat.mode & 0o777 },
    );
  if (!stat.isDirectory()) throw reject('is no folder');
  if (stat.uid !== uid) throw reject(`belongs to user ${stat.uid}, not to ${uid}`);
  if ((stat.mode & 0o022) !== 0) throw reject('can be written to by others');
}

/** Of the folders that hosts have for themselves. */
export const PRIVATE_PREFIX = 'host-';
/** In a host's own folder, with its process id, locked as long as it runs: how a later host knows that it is dead. */
export const OWNER_FILE = 'pid';
/** Nothing else is put there. */
const contents: readonly string[] = [OWNER_FILE, 'nbd.sock', 'control.sock'];

/** A new folder with a random name and mode 0700 inside a private one. */
export const makeRandomFolder = (inside: string): string =>
  mkdtempSync(join(inside, PRIVATE_PREFIX));

/**
 * Removes what killed hosts left in a private folder: folders of this user with nothing but a host's files, whose owner
 * is dead. One that is just being made has no process id in it yet; that one stays, and everything else whose end is no
 * fact.
 * @returns how many are gone
 */
export function sweepDeadFolders(inside: string, uid: number): number {
  let count = 0;
  for (const name of readdirSync(inside)) {
    if (!name.startsWith(PRIVATE_PREFIX)) continue;
    try {
      if (removeIfDead(join(inside, name), uid)) count++;
    } catch {
      // Already removed, or not removable: a leftover does no harm.
    }
  }
  return count;
}

function removeIfDead(folder: string, uid: number): boolean {
  const stat = lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o077) !== 0) return false;
  const found = readdirSync(folder);
  if (!found.every((name) => contents.includes(name))) return false;
  return ifOwnerIsDead(join(folder, OWNER_FILE), () => {
    for (const name of found) unlinkSync(join(folder, name));
    rmdirSync(folder);
  });
}
