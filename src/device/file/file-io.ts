/**
 * The system calls that a file disk makes, one by one, so that tests can let each of them fail. All are
 * synchronous; they throw the system's error with its `code` (ENOSPC, EIO).
 */
import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  openSync,
  readSync,
  type Stats,
  writeSync,
} from 'node:fs';

export interface FileIo {
  /** Bytes that were read at `position`, 1 .. length; 0 at the end of the file. */
  read(data: Uint8Array, at: number, length: number, position: number): number;
  /** Bytes that were written, 1 .. length. */
  write(data: Uint8Array, at: number, length: number, position: number): number;
  /** What was written is stable afterwards. */
  sync(): void;
  /** Gives a range back to the file system, which then reads as zeros; false when it cannot. */
  punchHole(position: number, length: number): boolean;
  close(): void;
}

/** Makes holes in open files: os/ has the system call. False when the system or the file system cannot. */
type PunchHole = (fd: number, position: number, length: number) => boolean;

export interface OpenedFile {
  readonly io: FileIo;
  /** Of the file when it was opened; 0 for a block device. */
  readonly sizeBytes: number;
  /** Transfers go past the page cache: memory, offset and length must be in whole blocks. */
  readonly isDirect: boolean;
}

export interface OpenOptions {
  readonly readOnly: boolean;
  /** Ask for O_DIRECT; file systems that do not have it (tmpfs) are opened without. */
  readonly direct: boolean;
  readonly punchHole: PunchHole | null;
  /** For block devices: O_EXCL, the kernel refuses one that is in use. Default false. */
  readonly isExclusive?: boolean;
  /** Sees what was opened before anything else is done with it; what it throws closes it again. */
  readonly check?: (stat: Stats) => void;
}

function openFd(
  path: string,
  { readOnly, direct, isExclusive = false }: OpenOptions,
): { fd: number; isDirect: boolean } {
  const access = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  const flags = isExclusive ? access | constants.O_EXCL : access;
  const directFlag = constants.O_DIRECT as number | undefined; // Linux only
  if (direct && directFlag !== undefined) {
    try {
      return { fd: openSync(path, flags | directFlag), isDirect: true };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EINVAL') throw cause;
    }
  }
  return { fd: openSync(path, flags), isDirect: false };
}

/** Opens a file or block device; throws the system's error, or what `check` throws. */
export function openFile(path: string, options: OpenOptions): OpenedFile {
  const { fd, isDirect } = openFd(path, options);
  const { punchHole } = options;
  const stat = fstatSync(fd);
  try {
    options.check?.(stat);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  const io: FileIo = {
    read: (data, at, length, position) => readSync(fd, data, at, length, position),
    write: (data, at, length, position) => writeSync(fd, data, at, length, position),
    sync: () => fdatasyncSync(fd),
    punchHole: (position, length) => punchHole?.(fd, position, length) ?? false,
    close: () => closeSync(fd),
  };
  return { io, sizeBytes: stat.size, isDirect };
}
