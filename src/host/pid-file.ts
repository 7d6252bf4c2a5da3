/**
 * A file with the process id of a running host. The file is locked (flock) while the host runs, so a second host can neither
 * overwrite nor remove it. The lock ends with the process; a new host takes over the file of a dead one.
 *
 *   open or create ─▶ only a process id in it? ─▶ lock ─▶ path still names this file? ─▶ write
 *                                                  │no         └─no: its host has removed it; retry
 *                                                  └▶ ERR_IO_IN_USE
 */
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { SwapError } from '../base/errors.ts';
import { holderOf, systemFileLock } from '../os/linux/file-lock.ts';
import { processText } from '../os/linux/process-name.ts';
import { errnoOf, systemError } from '../os/system-error.ts';
import { type OwnFile, ownFile, removeOwn } from '../os/unix-socket.ts';

const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
/** Maximum size of the file, more than any process id with a newline needs. */
const TEXT_BYTES_MAX = 32;
const TRIES = 5;

const failed = (path: string, cause: unknown): SwapError =>
  cause instanceof SwapError ? cause : systemError(`write ${path}`, cause, 'see --pidfile');

/** Checks the contents of the open file and locks it. @returns false if the path now names another file */
function lock(path: string, fd: number): boolean {
  const stat = fstatSync(fd);
  const text = Buffer.alloc(TEXT_BYTES_MAX);
  const found =
    stat.isFile() && stat.size <= TEXT_BYTES_MAX
      ? text.toString('latin1', 0, readSync(fd, text, 0, TEXT_BYTES_MAX, 0))
      : '-';
  // Do not overwrite another file because of a mistyped path.
  if (!/^\s*[0-9]*\s*$/.test(found))
    throw new SwapError(
      'ERR_ARG_VALUE',
      `--pidfile: '${path}' contains something other than a process id; choose another file`,
      {
        key: '--pidfile',
        value: path,
      },
    );
  if (!systemFileLock(process.platform)(fd)) {
    const holder = holderOf(stat) || processText(Number(found)) || 'another process';
    throw new SwapError(
      'ERR_IO_IN_USE',
      `--pidfile: ${path} belongs to ${holder}, which is running: stop it, or choose another file`,
      { key: '--pidfile', path },
    );
  }
  const now = statSync(path, { throwIfNoEntry: false });
  return now?.ino === stat.ino && now.dev === stat.dev;
}

export class PidFile {
  readonly #own: OwnFile;
  #fd: number | null;

  private constructor(path: string, fd: number) {
    this.#fd = fd;
    this.#own = ownFile(path);
  }

  /** Writes this process's id to the path. @throws SwapError ERR_IO_IN_USE, ERR_IO_SYSTEM, ERR_ARG_VALUE */
  static write(path: string): PidFile {
    try {
      for (let tries = 1; ; tries++) {
        const fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o644);
        try {
          if (lock(path, fd)) {
            ftruncateSync(fd);
            writeSync(fd, `${process.pid}\n`, 0);
            return new PidFile(path, fd);
          }
          if (tries === TRIES)
            throw new SwapError(
              'ERR_IO_IN_USE',
              `--pidfile: other hosts keep removing and creating ${path}; try again`,
              { key: '--pidfile', path },
            );
        } catch (error) {
          closeSync(fd);
          throw error;
        }
        closeSync(fd);
      }
    } catch (cause) {
      throw failed(path, cause);
    }
  }

  /** Removes the file, then unlocks it. Safe to call twice. */
  remove(): void {
    if (this.#fd === null) return;
    removeOwn(this.#own);
    closeSync(this.#fd);
    this.#fd = null;
  }
}

/** Checks whether write() would succeed now. Changes nothing. @throws SwapError as write() */
export function checkPidFile(path: string): void {
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) {
      accessSync(dirname(path), constants.W_OK | constants.X_OK);
      return;
    }
    const fd = openSync(path, O_RDWR | O_NOFOLLOW);
    try {
      lock(path, fd);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    throw failed(path, cause);
  }
}

/**
 * Calls `act`, with the file locked, if the process that wrote it is dead. An empty file belongs to a host that has not
 * locked it yet.
 * @returns true if it was dead; throws system errors
 */
export function ifOwnerIsDead(path: string, act: () => void): boolean {
  const fd = openSync(path, O_RDWR | O_NOFOLLOW);
  try {
    const text = Buffer.alloc(TEXT_BYTES_MAX);
    const pid = Number(text.toString('latin1', 0, readSync(fd, text, 0, TEXT_BYTES_MAX, 0)));
    if (!(pid > 0 && pid < 2 ** 31)) return false; // NaN, too
    if (!systemFileLock(process.platform)(fd)) return false;
    // Without locks (no FFI), only the process id counts. This process's own id in the file was written by a dead process that
    // had the same id.
    if (pid !== process.pid && isAlive(pid)) return false;
    act();
    return true;
  } finally {
    closeSync(fd);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return errnoOf(cause) !== 'ESRCH';
  }
}
