/**
 * Paths of Unix sockets: which may be taken, and how they go away.
 * A path that a live server answers on is refused, one that a dead server left behind is replaced, and
 * anything that is no socket is left alone. Between the look and the listening another process can take
 * the path: two hosts that start in the same millisecond are not told apart.
 */
import { lstatSync, type Stats, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { SwapError } from '../base/errors.ts';
import { errnoOf, systemError } from './system-error.ts';

/** sun_path: 108 bytes with the closing zero on Linux, 104 on macOS and the BSDs. */
const pathBytesMax = process.platform === 'linux' ? 107 : 103;

export function checkSocketPath(from: string, path: string): void {
  const length = Buffer.byteLength(path);
  if (length > pathBytesMax || path.includes('\0'))
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${from}: '${path}' is too long for a socket: ${length} bytes, at most ${pathBytesMax}`,
      { key: from, value: path },
    );
}

function statOf(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return null;
    throw systemError(`look at ${path}`, cause);
  }
}

/** True: somebody accepts connections there. False: the socket is left over. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (cause) => {
      const errno = errnoOf(cause);
      if (errno === 'ECONNREFUSED' || errno === 'ENOENT') resolve(false);
      else if (errno === 'EAGAIN')
        resolve(true); // a full backlog: alive and busy
      else reject(systemError(`ask whether ${path} is in use`, cause));
    });
  });
}

/**
 * Makes the path free to listen on.
 * @param from the option that chose the path
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_IN_USE, ERR_IO_SYSTEM
 */
export async function claimSocketPath(from: string, path: string): Promise<void> {
  checkSocketPath(from, path);
  const stat = statOf(path);
  if (stat === null) return;
  const inUse = (why: string): SwapError =>
    new SwapError('ERR_IO_IN_USE', `${path} ${why}; choose another path with ${from}`, {
      path,
      key: from,
    });
  if (!stat.isSocket()) throw inUse('exists and is no socket');
  if (await isAnswered(path)) throw inUse('belongs to a server that is running');
  removeIfThere(path);
}

/** Removes a file or socket, unless it is gone already. */
export function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw systemError(`remove ${path}`, cause);
  }
}
