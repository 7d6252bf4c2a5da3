/**
 * A file as a lower tier: opened, or made, with a swap header that the kernel's tools know (mkswap(8), swaplabel(8)).
 *
 * A file that is there and is not empty is used only if it is a swap area already: nobody's data is overwritten. What
 * lies in such an area is not read back; its slots are taken as free.
 *
 * Each page carries a checksum that this process remembers (block/filters/checksum-disk.ts): what the file brings instead of what
 * was written to it, zeros past its end included, is an I/O error and never data.
 */
import { ftruncateSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { FileDisk } from '../block/disks/file-disk.ts';
import { openPrivateFile, type PrivateFile } from '../block/disks/file-io.ts';
import { type ChecksumDisk, checksumDisk } from '../block/filters/checksum-disk.ts';
import { systemPunchHole } from '../os/linux/fallocate.ts';
import { holderOf, systemFileLock } from '../os/linux/file-lock.ts';
import type { DiscardMode } from '../swap/areas.ts';
import { readHeader, writeHeader } from '../swap/header.ts';

export interface DeviceOptions {
  readonly kind: 'file';
  /** A file: made when it is not there (mode 0600), used when it is ours alone, and empty or a swap area. */
  readonly path: string;
  /** Bytes, whole pages, at least ten of them. */
  readonly sizeBytes: number;
  /** 0 .. 32766, higher first; compressed RAM comes before all. */
  readonly priority?: number;
  /** When freed slots are given back to the file system; default off. */
  readonly discard?: DiscardMode;
  /** True: a file that was made here keeps its name. Default: it loses it at once, and its blocks go with the process. */
  readonly keep?: boolean;
}

export interface SwapFile extends Disposable {
  readonly disk: ChecksumDisk;
  /** Its first page. */
  readonly header: Uint8Array;
}

/**
 * @throws SwapError ERR_IO_SWAP_HEADER (the file holds something else), ERR_IO_UNSAFE_PATH (others may touch it),
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
    // Without a name nobody else comes to it, and its blocks go with the process, however that ends.
    if (file.isNew && options.keep !== true) system('unlink', path, () => unlinkSync(path));
    const { io, isDirect } = file;
    const disk = new FileDisk(io, { sizeBytes, readOnly: false, isDirect, biosPerTick: 64 });
    return {
      disk: checksumDisk(disk, { unknown: 'fail' }),
      header,
      [Symbol.dispose]: () => disk[Symbol.dispose](),
    };
  } catch (error) {
    file.io.close();
    throw error;
  }
}

/** Makes sure that the file is a swap area of the size. Its header. */
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

function system<Result>(call: string, path: string, body: () => Result): Result {
  try {
    return body();
  } catch (cause) {
    if (cause instanceof SwapError) throw cause;
    const errno = (cause as NodeJS.ErrnoException).code ?? 'EIO';
    throw new SwapError(
      'ERR_IO_SYSTEM',
      `${path}: ${call} failed: ${errno}`,
      { call, path, errno },
      { cause },
    );
  }
}
