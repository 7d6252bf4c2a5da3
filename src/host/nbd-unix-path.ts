/**
 * Who owns the path of a Unix socket: a live server keeps it, what a dead one left behind is replaced,
 * and anything that is not a socket is nobody's to remove.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'UNKNOWN';

/** Whether somebody accepts connections at `path`. */
function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    // Busy (EAGAIN) and forbidden (EACCES) are answers of a live server, too.
    probe.once('error', (error) => resolve(codeOf(error) !== 'ECONNREFUSED'));
  });
}

/**
 * Makes `path` free to bind.
 * @throws SwapError ERR_IO_IN_USE when a live server or something that is no socket is there; ERR_IO_SYSTEM
 */
export async function claimUnixPath(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket())
      throw new SwapError('ERR_IO_IN_USE', `${path} exists and is no socket: choose another path`, {
        path,
      });
    if (await isLive(path))
      throw new SwapError('ERR_IO_IN_USE', `${path} is served by a live server: stop it first`, {
        path,
      });
    unlinkSync(path);
  } catch (error) {
    if (error instanceof SwapError) throw error;
    if (codeOf(error) !== 'ENOENT') throw bindError(path, error);
  }
}

/** Binds with a umask that keeps others out until the mode is set. A worker has no umask of its own to set. */
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
    if (codeOf(error) !== 'ENOENT') throw bindError(path, error); // not bound: told by the server's error
  }
}

/** What a failure to listen at `address` means. */
export function bindError(address: string, error: unknown): SwapError {
  const errno = codeOf(error);
  const facts = { address, errno };
  if (errno === 'EADDRINUSE')
    return new SwapError(
      'ERR_IO_IN_USE',
      `${address} is in use: choose another or stop its owner`,
      facts,
      {
        cause: error,
      },
    );
  const hint =
    errno === 'ENAMETOOLONG' || errno === 'EINVAL'
      ? 'a socket path has at most 107 bytes'
      : 'check that the folder exists and may be written';
  return new SwapError('ERR_IO_SYSTEM', `cannot listen at ${address} (${errno}): ${hint}`, facts, {
    cause: error,
  });
}
