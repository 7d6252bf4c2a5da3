/** Reads a configuration file as text: a regular file of UTF-8 that not every user can change, within a limit. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { SwapError } from '../../base/errors.ts';
import { systemError } from '../../os/system-error.ts';
import { refuseOpen } from './open-path.ts';

/** The longest file, bytes. */
export const FILE_BYTES_MAX: number = 1024 * 1024;

const refused = (file: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${file}: ${why}`, { file });

function readBytes(path: string, option: string): Buffer {
  let fd: number | null = null;
  try {
    // O_NONBLOCK: without it, opening a FIFO would wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const found = fstatSync(fd);
    if (!found.isFile()) throw refused(path, 'is not a regular file');
    refuseOpen(path, found);
    const bytes = Buffer.alloc(FILE_BYTES_MAX + 1);
    let length = 0;
    for (let more = -1; more !== 0 && length < bytes.length; length += more)
      more = readSync(fd, bytes, length, bytes.length - length, null);
    if (length > FILE_BYTES_MAX)
      throw refused(path, `is longer than ${FILE_BYTES_MAX} bytes, the maximum`);
    return bytes.subarray(0, length);
  } catch (cause) {
    if (cause instanceof SwapError) throw cause;
    throw systemError(`read ${path}`, cause, `see ${option}`);
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

/**
 * @param option names the file in errors
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_UNSAFE_PATH, ERR_IO_SYSTEM
 */
export function readText(path: string, option: string): string {
  const bytes = readBytes(path, option);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw refused(path, 'is not UTF-8 text');
  }
}
