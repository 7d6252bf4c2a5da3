/**
 * A file that gets its name once it is complete: it is written as PATH.new (mode 0600), and renamed.
 *
 * A killed process leaves at most PATH.new, which the next one replaces; PATH is either complete or as before. The file is
 * locked (flock) while it is written, so that two processes do not write one file.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { SwapError } from '../base/errors.ts';
import { holderOf, systemFileLock } from './linux/file-lock.ts';
import { systemError } from './system-error.ts';

const { O_WRONLY, O_RDONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
const advice = 'choose another file';

export class NewFile implements Disposable {
  readonly #path: string;
  readonly #newPath: string;
  #fd: number;

  /** @throws SwapError ERR_IO_UNSAFE_PATH: something else is there; ERR_IO_IN_USE, ERR_IO_SYSTEM */
  constructor(path: string) {
    this.#path = path;
    this.#newPath = `${path}.new`;
    try {
      if (lstatSync(path, { throwIfNoEntry: false })?.isFile() === false)
        throw unsafe(path, 'it exists, and is not a regular file');
      // O_NONBLOCK: opening a FIFO would wait.
      this.#fd = openSync(this.#newPath, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    } catch (cause) {
      throw cause instanceof SwapError ? cause : systemError(`write ${path}`, cause, advice);
    }
    try {
      this.#claim();
    } catch (cause) {
      closeSync(this.#fd);
      throw cause instanceof SwapError ? cause : systemError(`write ${path}`, cause, advice);
    }
  }

  /** @throws SwapError ERR_IO_SYSTEM */
  write(chunk: Uint8Array): void {
    try {
      for (let at = 0; at < chunk.length; ) at += writeSync(this.#fd, chunk, at);
    } catch (cause) {
      throw systemError(`write ${this.#newPath}`, cause, advice);
    }
  }

  /** Writes the file to the device and gives it its name; it replaces any file of that name. @throws SwapError ERR_IO_SYSTEM */
  publish(): void {
    try {
      fsyncSync(this.#fd);
      renameSync(this.#newPath, this.#path);
      const folder = openSync(dirname(this.#path), O_RDONLY);
      try {
        fsyncSync(folder);
      } finally {
        closeSync(folder);
      }
    } catch (cause) {
      throw systemError(`write ${this.#path}`, cause, advice);
    }
    closeSync(this.#fd);
    this.#fd = -1;
  }

  /** Removes the file, unless it was published. */
  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    rmSync(this.#newPath, { force: true });
    closeSync(this.#fd);
    this.#fd = -1;
  }

  /** A file of an ended process is replaced; that of another user, or one with a second name, is not. */
  #claim(): void {
    const path = this.#newPath;
    const stat = fstatSync(this.#fd);
    if (!stat.isFile() || stat.nlink !== 1) throw unsafe(path, 'it is not a regular file');
    if (stat.uid !== process.geteuid?.()) throw unsafe(path, `it belongs to user ${stat.uid}`);
    const isLocked = systemFileLock(process.platform)(this.#fd);
    // Another process may have published it before it was locked here.
    if (!isLocked || lstatSync(path, { throwIfNoEntry: false })?.ino !== stat.ino) {
      const holder = holderOf(stat) || 'another process';
      throw new SwapError('ERR_IO_IN_USE', `${path} is being written by ${holder}; ${advice}`, {
        path,
      });
    }
    fchmodSync(this.#fd, 0o600);
    ftruncateSync(this.#fd);
  }
}

const unsafe = (path: string, why: string): SwapError =>
  new SwapError('ERR_IO_UNSAFE_PATH', `cannot write ${path}: ${why}; ${advice}`, { path });
