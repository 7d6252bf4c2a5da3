/**
 * A file as a lower tier: opened, or made, with a swap header that the kernel's tools know (mkswap(8), swaplabel(8)).
 *
 * A file that is there and is not empty is used only if it is a swap area already: nobody's data is overwritten. What
 * lies in such an area is not read back; its slots are taken as free.
 *
 * Each page carries a checksum that this process remembers (block/filter/checksum.ts): what the file brings instead of what
 * was written to it, zeros past its end included, is an I/O error and never data.
 */
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type ChecksumDisk, checksumDisk } from '../block/filter/checksum.ts';
import { FileDisk } from '../device/file/file-disk.ts';
import { openFile } from '../device/file/file-io.ts';
import { systemPunchHole } from '../os/fallocate.ts';
import type { DiscardMode } from '../swap/areas.ts';
import { readHeader, writeHeader } from '../swap/header.ts';

export interface DeviceOptions {
  readonly kind: 'file';
  /** A file: made when it is not there (mode 0600), used when it is empty or a swap area. */
  readonly path: string;
  /** Bytes, whole pages, at least ten of them. */
  readonly sizeBytes: number;
  /** 0 .. 32766, higher first; compressed RAM comes before all. */
  readonly priority?: number;
  /** When freed slots are given back to the file system; default off. */
  readonly discard?: DiscardMode;
  /** Take the file away again at the end; default: if it was made here. */
  readonly keep?: boolean;
}

export interface SwapFile extends Disposable {
  readonly disk: ChecksumDisk;
  /** Its first page. */
  readonly header: Uint8Array;
}

/** @throws SwapError ERR_IO_SWAP_HEADER (the file holds something else), ERR_IO_SYSTEM */
export function openSwapFile(options: DeviceOptions): SwapFile {
  const { path, sizeBytes } = options;
  const { header, isNew } = prepare(path, sizeBytes);
  const { io, isDirect } = system('open', path, () =>
    openFile(path, {
      readOnly: false,
      direct: true,
      punchHole: systemPunchHole(process.platform),
    }),
  );
  const file = new FileDisk(io, { sizeBytes, readOnly: false, isDirect, biosPerTick: 64 });
  return {
    disk: checksumDisk(file, { unknown: 'fail' }),
    header,
    [Symbol.dispose]: () => {
      file[Symbol.dispose]();
      if (!(options.keep ?? !isNew)) unlinkSync(path);
    },
  };
}

/** Makes sure that the file is a swap area of the size. */
function prepare(path: string, sizeBytes: number): { header: Uint8Array; isNew: boolean } {
  const { fd, isNew } = system('open', path, () => openOrMake(path));
  try {
    const header = new Uint8Array(PAGE_BYTES);
    const fileBytes = fstatSync(fd).size;
    if (fileBytes > 0) {
      system('read', path, () => readSync(fd, header, 0, PAGE_BYTES, 0));
      checkHeader(header, path, sizeBytes);
    } else {
      const lastPage = sizeBytes / PAGE_BYTES - 1;
      writeHeader({ lastPage, badPages: [], uuid: randomUUID(), label: 'frontswap' }, header);
      system('write', path, () => {
        ftruncateSync(fd, sizeBytes);
        writeSync(fd, header, 0, PAGE_BYTES, 0);
      });
    }
    return { header, isNew };
  } finally {
    closeSync(fd);
  }
}

function openOrMake(path: string): { fd: number; isNew: boolean } {
  try {
    return { fd: openSync(path, 'wx+', 0o600), isNew: true };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return { fd: openSync(path, 'r+'), isNew: false };
  }
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
