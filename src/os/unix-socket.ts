/**
 * Paths of Unix sockets: whether one may be taken, how it is made private, how it goes away. A live server keeps
 * its path, what a dead one left behind is replaced, and what is no socket is nobody's to remove.
 *
 * Between the look at a path and listening there another process can take it: two hosts that start in the same
 * millisecond are told apart by EADDRINUSE, not by the look.
 */
import { accessSync, chmodSync, constants, lstatSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { systemPeerPid } from './linux/peer-credentials.ts';
import { processText } from './linux/process-name.ts';
import { descriptorOf } from './socket.ts';
import { errnoOf, systemError } from './system-error.ts';

/** sun_path: 108 bytes with the closing zero on Linux, 104 on macOS and the BSDs. */
const pathBytesMax = process.platform === 'linux' ? 107 : 103;

/** A path, and how to speak of it. */
export interface SocketPath {
  readonly path: string;
  /** What chose it, `--unix`: every message begins with it. */
  readonly from: string;
  /** What to do when it is not to be had. */
  readonly advice: string;
}

function checkLength({ path, from }: SocketPath): void {
  const length = Buffer.byteLength(path);
  if (length > pathBytesMax || path.includes('\0'))
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${from}: '${path}' is no path for a socket: ${length} bytes, at most ${pathBytesMax}, no zeros`,
      { key: from, value: path },
    );
}

/** The NBD socket of --unix. */
export const unixSocketPath = (path: string): SocketPath => ({
  path,
  from: '--unix',
  advice: 'choose another path with --unix, or - for a private one',
});

export const controlSocketPath = (path: string, isDefault: boolean): SocketPath => ({
  path,
  from: isDefault ? 'the default control socket' : '--control',
  advice: 'choose another path with --control PATH, or none with --no-control',
});

/** Who accepts connections at `path`, for messages; null: nobody. */
function serverAt(path: string): Promise<string | null> {
  const unnamed = 'a live server';
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      const pid = systemPeerPid(process.platform)(descriptorOf(probe));
      probe.destroy();
      resolve((pid > 0 ? processText(pid) : null) ?? unnamed);
    });
    // Busy (EAGAIN) and forbidden (EACCES) are answers of a live server, too.
    probe.once('error', (error) =>
      resolve(['ECONNREFUSED', 'ENOENT'].includes(errnoOf(error)) ? null : unnamed),
    );
  });
}

const inUse = ({ path, from, advice }: SocketPath, why: string, cause?: unknown): SwapError =>
  new SwapError(
    'ERR_IO_IN_USE',
    `${from}: ${path} ${why} ${advice}`,
    { key: from, path },
    { cause },
  );

/** What it means that a socket cannot be made at a path, and what to do. */
export function unixListenError(place: SocketPath, cause: unknown): SwapError {
  const { path, from, advice } = place;
  const errno = errnoOf(cause);
  if (errno === 'EADDRINUSE') return inUse(place, 'was taken by another server just now;', cause);
  const folder = dirname(path);
  const whatToDo =
    errno === 'ENOENT'
      ? `make the folder first: mkdir -m 0700 '${folder}'`
      : errno === 'EACCES'
        ? `this user may not write to ${folder}: ${advice}`
        : advice;
  return systemError(`listen on ${path}`, cause, `${whatToDo} (${from})`);
}

/**
 * Whether the path can be listened on, once what a dead server left there is gone. Nothing is changed.
 * @returns true when something of a dead server is there
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_IN_USE, ERR_IO_SYSTEM
 */
export async function checkSocketPath(place: SocketPath): Promise<boolean> {
  checkLength(place);
  const { path } = place;
  try {
    // bind() tells a folder that is missing from one that is forbidden; Node does not pass that on.
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return false;
    if (!found.isSocket()) throw inUse(place, 'exists and is no socket;');
    const server = await serverAt(path);
    if (server !== null) throw inUse(place, `is served by ${server}: stop it, or`);
    return true;
  } catch (error) {
    throw error instanceof SwapError ? error : unixListenError(place, error);
  }
}

/**
 * Makes the path free to listen on: what a dead server left behind is removed.
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_IN_USE, ERR_IO_SYSTEM
 */
export async function claimSocketPath(place: SocketPath): Promise<void> {
  if (await checkSocketPath(place)) removeIfThere(place.path);
}

/**
 * Binds with a umask that keeps others out until the mode is set. A worker has no umask of its own to set.
 * Throws what the system throws.
 */
export function withPrivateUmask(path: string, mode: number, bind: () => void): void {
  const before = isMainThread ? process.umask(0o177) : null;
  try {
    bind();
  } finally {
    if (before !== null) process.umask(before);
  }
  try {
    chmodSync(path, mode);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error; // not bound: told by the server's error
  }
}

/** Removes a file or socket, unless it is gone already. */
export function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw systemError(`remove ${path}`, cause);
  }
}

/** A file or socket that this process made: the path, and which file that was. */
export interface OwnFile {
  readonly path: string;
  readonly identity: string;
}

/** Device, inode and time of the last change: an inode's number alone may be given to another file at once. */
function identityOf(path: string): string | null {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : `${stat.dev}:${stat.ino}:${stat.ctimeNs}`;
}

/** What is at `path` now, which this process has just made. */
export const ownFile = (path: string): OwnFile => ({ path, identity: identityOf(path) ?? '' });

/** Removes the file unless it is gone, or somebody else's is there by now: the successor's of a host that stops late. */
export function removeOwn({ path, identity }: OwnFile): void {
  if (identityOf(path) === identity) removeIfThere(path);
}
