/**
 * Paths of Unix sockets: checks whether a path can be used, sets the socket's mode, and removes the socket. It leaves the
 * socket of a live server unchanged, replaces a stale socket, and never removes other files.
 *
 * Another process can take the path between the check and the listen: then listen fails with EADDRINUSE.
 */
import { accessSync, chmodSync, constants, lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { systemPeerPid } from './linux/peer-credentials.ts';
import { processText } from './linux/process-name.ts';
import { descriptorOf } from './socket.ts';
import { errnoOf, systemError } from './system-error.ts';

/** sun_path: 108 bytes with the terminating zero on Linux, 104 on macOS and the BSDs. */
const pathBytesMax = process.platform === 'linux' ? 107 : 103;

/** A path, and its description in messages. */
export interface SocketPath {
  readonly path: string;
  /** The option that set it, such as `--unix`; every message starts with it. */
  readonly from: string;
  /** What to do if it cannot be used. */
  readonly advice: string;
}

function checkLength({ path, from }: SocketPath): void {
  const length = Buffer.byteLength(path);
  if (length > pathBytesMax || path.includes('\0'))
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${from}: '${path}' is not a valid socket path: ${length} bytes; use at most ${pathBytesMax} bytes without NUL`,
      { key: from, value: path },
    );
}

/** The NBD socket of --unix. */
export const unixSocketPath = (path: string): SocketPath => ({
  path,
  from: '--unix',
  advice: 'choose another path with --unix, or - for a private socket',
});

/** The socket of --tmem. */
export const tmemSocketPath = (path: string): SocketPath => ({
  path,
  from: '--tmem',
  advice: 'choose another path with --tmem',
});

/** The socket of a disk's vhost-user. */
export const vhostUserSocketPath = (path: string): SocketPath => ({
  path,
  from: 'vhost-user',
  advice: 'choose another path with vhost-user=',
});

export const controlSocketPath = (path: string, isDefault: boolean): SocketPath => ({
  path,
  from: isDefault ? 'the default control socket' : '--control',
  advice: 'choose another path with --control PATH, or disable it with --no-control',
});

/** Describes the server that accepts connections at `path`; null if there is none. */
function serverAt(path: string): Promise<string | null> {
  const unnamed = 'a running server';
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      const pid = systemPeerPid(process.platform)(descriptorOf(probe));
      probe.destroy();
      resolve((pid > 0 ? processText(pid) : null) ?? unnamed);
    });
    // Busy (EAGAIN) and forbidden (EACCES) also mean a live server.
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

/** The error for a failed listen on a path, with advice. */
export function unixListenError(place: SocketPath, cause: unknown): SwapError {
  const { path, from, advice } = place;
  const errno = errnoOf(cause);
  if (errno === 'EADDRINUSE') return inUse(place, 'is now in use by another server;', cause);
  const folder = dirname(path);
  const whatToDo =
    errno === 'ENOENT'
      ? `create the folder first: mkdir -m 0700 '${folder}'`
      : errno === 'EACCES'
        ? `this user cannot write to ${folder}: ${advice}`
        : advice;
  return systemError(`listen on ${path}`, cause, `${whatToDo} (${from})`);
}

/**
 * Checks whether the path can be used. Changes nothing.
 * @returns true if there is a stale socket
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_IN_USE, ERR_IO_SYSTEM
 */
export async function checkSocketPath(place: SocketPath): Promise<boolean> {
  checkLength(place);
  const { path } = place;
  try {
    // Distinguishes a missing folder from a forbidden one; Node's listen() does not.
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return false;
    if (!found.isSocket()) throw inUse(place, 'exists and is not a socket;');
    const server = await serverAt(path);
    if (server !== null) throw inUse(place, `is in use by ${server}: stop it, or`);
    return true;
  } catch (error) {
    throw error instanceof SwapError ? error : unixListenError(place, error);
  }
}

/**
 * Checks the path and removes a stale socket.
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_IN_USE, ERR_IO_SYSTEM
 */
export async function claimSocketPath(place: SocketPath): Promise<void> {
  if (await checkSocketPath(place)) removeIfThere(place.path);
}

/**
 * Listens on a Unix socket that has the permission bits `mode` from bind(2) on, because the umask allows no others.
 *
 * The mode is changed afterwards only if the socket was bound and has another mode: in a worker thread, which cannot set the
 * umask, or in a folder with a default ACL. If bind(2) failed, the path belongs to another process, and its mode is not
 * changed, because chmod(2) follows a symbolic link. The server itself reports that error.
 */
export function listenWithMode(path: string, mode: number, listen: () => Server): void {
  const before = isMainThread ? process.umask(~mode & 0o777) : null;
  let server: Server;
  try {
    server = listen();
  } finally {
    if (before !== null) process.umask(before);
  }
  if (!server.listening) return;
  const bound = lstatSync(path, { throwIfNoEntry: false });
  if (bound?.isSocket() === true && (bound.mode & 0o777) !== mode) chmodSync(path, mode);
}

/** Removes a file or socket if it exists. */
export function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw systemError(`remove ${path}`, cause);
  }
}

/** A file or socket created by this process: its path and identity. */
export interface OwnFile {
  readonly path: string;
  readonly identity: string;
}

/** Device, inode and ctime: the file system may reuse the inode number for another file. */
function identityOf(path: string): string | null {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : `${stat.dev}:${stat.ino}:${stat.ctimeNs}`;
}

/** The file at `path`, which this process has just created. */
export const ownFile = (path: string): OwnFile => ({ path, identity: identityOf(path) ?? '' });

/** Removes the file unless it was already removed or replaced: a new host may start before the old one has stopped. */
export function removeOwn({ path, identity }: OwnFile): void {
  if (identityOf(path) === identity) removeIfThere(path);
}

/**
 * Changes the permission bits of a socket that this process created. The path is still that of this socket, because the folder
 * belongs to the user who chose it.
 * @returns the file with its new identity
 * @throws SwapError ERR_IO_IN_USE: it was replaced; ERR_IO_SYSTEM
 */
export function changeMode({ path, identity }: OwnFile, mode: number): OwnFile {
  if (identityOf(path) !== identity)
    throw new SwapError('ERR_IO_IN_USE', `${path} is no longer the socket of this host`, { path });
  try {
    chmodSync(path, mode);
  } catch (cause) {
    throw systemError(`change the mode of ${path}`, cause);
  }
  return ownFile(path);
}
