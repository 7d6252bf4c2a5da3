/**
 * Paths of Unix sockets that the user chose by an option: whether they fit, who holds them, how they go away.
 * Between the look at a path and listening there another process can take it: two hosts that start in the same
 * millisecond are not told apart.
 */
import { unlinkSync } from 'node:fs';
import { SwapError } from '../base/errors.ts';
import { claimUnixPath } from './nbd-unix-path.ts';
import { errnoOf, systemError } from './system-error.ts';

/** sun_path: 108 bytes with the closing zero on Linux, 104 on macOS and the BSDs. */
const pathBytesMax = process.platform === 'linux' ? 107 : 103;

function checkLength(from: string, path: string): void {
  const length = Buffer.byteLength(path);
  if (length > pathBytesMax || path.includes('\0'))
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${from}: '${path}' is no path for a socket: ${length} bytes, at most ${pathBytesMax}, no zeros`,
      { key: from, value: path },
    );
}

/**
 * Makes the path free to listen on: what a dead server left behind is removed.
 * @param from the option that chose the path
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_IN_USE, ERR_IO_SYSTEM
 */
export async function claimSocketPath(from: string, path: string): Promise<void> {
  checkLength(from, path);
  try {
    await claimUnixPath(path);
  } catch (cause) {
    if (!(cause instanceof SwapError)) throw cause;
    throw new SwapError(
      cause.code,
      `${from}: ${cause.message}`,
      { ...cause.facts, key: from },
      { cause },
    );
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
