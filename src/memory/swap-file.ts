/**
 * A file as a lower tier: opened or created, with a swap header that the kernel's tools know (mkswap(8), swaplabel(8)).
 *
 * A file that is not empty is used only if it is already a swap area, so that no other data is overwritten. Pages in such an
 * area are not read; all its slots count as free.
 *
 * This process keeps a checksum per page (block/filters/checksum-disk.ts). If a page differs from what was written, including
 * zeros past the end of the file, reading it is an I/O error; wrong data is never returned.
 */
import { ftruncateSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { FileDisk } from '../block/disks/file-disk.ts';
import { openPrivateFile, type PrivateFile } from '../block/disks/file-io.ts';
import { type ChecksumDisk, checksumDisk } from '../block/filters/checksum-disk.ts';
import { systemPunchHole } from '../os/linux/fallocate.ts';
import { holderOf, systemFileLock } from '../os/linux/file-lock.ts';
import { systemError } from '../os/system-error.ts';
import type { DiscardMode } from '../swap/areas.ts';
import { readHeader, writeHeader } from '../swap/header.ts';

/** A swap file for pages that compressed RAM refuses; used by `openSwap({ devices })`. */
export interface DeviceOptions {
  readonly kind: 'file';
  /** Created (mode 0600) if missing; an existing file must be private to this user, and empty or a swap area. */
  readonly path: string;
  /** Bytes; a multiple of 4096, at least 40960. */
  readonly sizeBytes: number;
  /** 0 .. 32766, higher is used first; compressed RAM is used before any file. */
  readonly priority?: number;
  /** When freed slots are discarded, so that the file system can reuse their blocks; default off. */
  readonly discard?: DiscardMode;
  /** True: a newly created file keeps its name. Default: it is unlinked immediately, and its blocks are freed at exit. */
  readonly keep?: boolean;
}

export interface SwapFile extends Disposable {
  readonly disk: ChecksumDisk;
  /** Its first page. */
  readonly header: Uint8Array;
  /** The descriptor for reads and writes, with O_DIRECT if the file system supports it. */
  readonly fd: number;
}

/**
 * @throws SwapError ERR_IO_SWAP_HEADER (the file has other contents), ERR_IO_UNSAFE_PATH (others may modify it),
 * ERR_IO_IN_USE (another swap has it), ERR_IO_SYSTEM
 */
export function openSwapFile(options: DeviceOptions): SwapFile {
  const { path, sizeBytes } = options;
  const file = system('open', path, () =>
    openPrivateFile(path, {
      punchHole: systemPunchHole(process.platform),
      lock: systemFileLock(process.platform),
      holderOf,
      userId: process.geteuid?.() ?? 0,
    }),
  );
  try {
    const header = prepare(file, path, sizeBytes);
    // Without a name, no other process can open the file, and its blocks are freed no matter how this process ends.
    if (file.isNew && options.keep !== true) system('unlink', path, () => unlinkSync(path));
    const { io, isDirect } = file;
    const disk = new FileDisk(io, { sizeBytes, readOnly: false, isDirect, biosPerTick: 64 });
    return {
      disk: checksumDisk(disk, { unknown: 'fail' }),
      header,
      fd: file.ioFd,
      [Symbol.dispose]: () => disk[Symbol.dispose](),
    };
  } catch (error) {
    file.io.close();
    throw error;
  }
}

/** Makes sure that the file is a swap area of this size; returns its header. */
function prepare(
  { fd, sizeBytes: fileBytes }: PrivateFile,
  path: string,
  sizeBytes: number,
): Uint8Array {
  const header = new Uint8Array(PAGE_BYTES);
  if (fileBytes > 0) {
    system('read', path, () => readSync(fd, header, 0, PAGE_BYTES, 0));
    checkHeader(header, path, sizeBytes);
    return header;
  }
  const lastPage = sizeBytes / PAGE_BYTES - 1;
  writeHeader(
    { lastPage, badPages: [], uuid: globalThis.crypto.randomUUID(), label: 'frontswap' },
    header,
  );
  system('write', path, () => {
    ftruncateSync(fd, sizeBytes);
    writeSync(fd, header, 0, PAGE_BYTES, 0);
  });
  return header;
}

function checkHeader(header: Uint8Array, path: string, sizeBytes: number): void {
  try {
    readHeader(header, sizeBytes / PAGE_BYTES);
  } catch (cause) {
    throw new SwapError(
      'ERR_IO_SWAP_HEADER',
      `${path}: not a swap area of at most ${sizeBytes} bytes, and not empty: nothing in it is overwritten; name another file, or remove this one`,
      { path, sizeBytes },
      { cause },
    );
  }
}

/** What to do about a failed system call, by errno. */
const advice: Readonly<Record<string, string>> = {
  ENOENT: 'create its folder first, or name another file',
  ENOTDIR: 'name a file in an existing folder',
  EISDIR: 'name a file, not a folder',
  EACCES: 'name a file that this user may create or write',
  EROFS: 'name a file on a writable file system',
  ENOSPC: 'free space there, or name a file on another file system',
};

function system<Result>(call: string, path: string, body: () => Result): Result {
  try {
    return body();
  } catch (cause) {
    if (cause instanceof SwapError) throw cause;
    const errno = (cause as NodeJS.ErrnoException).code ?? 'EIO';
    const { message } = systemError(`${call} the swap file ${path}`, cause, advice[errno]);
    throw new SwapError('ERR_IO_SYSTEM', message, { call, path, errno }, { cause });
  }
}
