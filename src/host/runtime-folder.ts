/**
 * The default folder for sockets, private to this user.
 *
 *   root        /run/frontswap
 *   a user      $XDG_RUNTIME_DIR/frontswap
 *   without it  /tmp/frontswap-UID   (another user can create it first, so its owner is checked)
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
 * Creates the folder with mode 0700 unless it exists, and checks it in both cases.
 * @throws SwapError ERR_IO_SYSTEM, ERR_IO_UNSAFE_PATH
 */
export function makePrivateFolder(
  path: string,
  uid: number,
  advice: string = 'choose other paths with --control and --unix',
): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw systemError(`create the folder ${path}`, cause, advice);
  }
  checkPrivateFolder(path, uid, advice);
}

/**
 * Checks that only this user can write to a folder. A folder that does not exist is accepted.
 * @throws SwapError ERR_IO_UNSAFE_PATH
 */
export function checkPrivateFolder(
  path: string,
  uid: number,
  advice: string = 'choose other paths with --control and --unix',
): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  const reject = (why: string): SwapError =>
    new SwapError('ERR_IO_UNSAFE_PATH', `${path} ${why}; remove it, or ${advice}`, {
      path,
      uid: stat.uid,
      mode: stat.mode & 0o777,
    });
  if (!stat.isDirectory()) throw reject('is not a folder');
  if (stat.uid !== uid) throw reject(`belongs to user ${stat.uid}, not to ${uid}`);
  if ((stat.mode & 0o022) !== 0) throw reject('is writable by other users');
}

/**
 * Creates or checks the folder for sockets of this user's hosts; removes the folders of killed hosts.
 * @throws SwapError ERR_IO_SYSTEM, ERR_IO_UNSAFE_PATH
 */
export function openRuntimeFolder(
  path: string,
  uid: number,
  trace: ((line: string) => void) | null,
): string {
  makePrivateFolder(path, uid);
  const count = sweepDeadFolders(path, uid);
  if (count > 0) trace?.(`removed ${count} folder(s) of dead hosts from ${path}`);
  return path;
}

/** Prefix of the private folders of hosts. */
export const PRIVATE_PREFIX = 'host-';
/**
 * Name of the pid file in a host's private folder. The file is locked while the host runs: a later host can tell whether this
 * one is dead.
 */
export const OWNER_FILE = 'pid';
/** All files that a host creates in its private folder. */
const FILES: readonly string[] = [OWNER_FILE, 'nbd.sock', 'control.sock'];

/** Creates a folder with a random name and mode 0700 inside a private one. */
export const makeRandomFolder = (inside: string): string =>
  mkdtempSync(join(inside, PRIVATE_PREFIX));

/**
 * Removes the folders of killed hosts inside a private folder: folders of this user that contain only a host's files and belong
 * to a dead host. A folder without a process id stays: its host may just be starting.
 * @returns the number of removed folders
 */
export function sweepDeadFolders(inside: string, uid: number): number {
  let count = 0;
  for (const name of readdirSync(inside)) {
    if (!name.startsWith(PRIVATE_PREFIX)) continue;
    try {
      if (removeIfDead(join(inside, name), uid)) count++;
    } catch {
      // Already removed, or cannot be removed: harmless.
    }
  }
  return count;
}

function removeIfDead(folder: string, uid: number): boolean {
  const stat = lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o077) !== 0) return false;
  const found = readdirSync(folder);
  if (!found.every((name) => FILES.includes(name))) return false;
  return ifOwnerIsDead(join(folder, OWNER_FILE), () => {
    for (const name of found) unlinkSync(join(folder, name));
    rmdirSync(folder);
  });
}
