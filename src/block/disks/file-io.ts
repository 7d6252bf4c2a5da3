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
import { SwapError } from '../../base/errors.ts';

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
  readonly check?: (stat: Stats, fd: number) => void;
}

function openFd(
  path: string,
  {
    readOnly,
    direct,
    isExclusive = false,
  }: Pick<OpenOptions, 'readOnly' | 'direct' | 'isExclusive'>,
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
  const stat = fstatSync(fd);
  try {
    options.check?.(stat, fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { io: ioOf(fd, options.punchHole), sizeBytes: stat.size, isDirect };
}

export interface PrivateFile extends OpenedFile {
  /** It was made here. */
  readonly isNew: boolean;
  /** For what is read or written before O_DIRECT's rules hold; it has the lock, and closes after `io`. */
  readonly fd: number;
}

export interface PrivateOptions {
  readonly punchHole: PunchHole | null;
  /** Locks the open file against every other opener, as flock(2); false: somebody else has. */
  readonly lock: (fd: number) => boolean;
  /** Names who has the lock, for a message; empty where that is not known. */
  readonly holderOf: (stat: Stats) => string;
  /** Whose the file must be: the effective user. */
  readonly userId: number;
}

/**
 * A file for what nobody else may see or change: made with mode 0600, or ours already. It is opened once, not through a
 * link, and locked; what is checked is what was opened.
 * @throws SwapError ERR_IO_UNSAFE_PATH, ERR_IO_IN_USE; the system's error
 */
export function openPrivateFile(path: string, options: PrivateOptions): PrivateFile {
  const { fd, isNew } = makeOrOpen(path);
  try {
    checkPrivate(path, fd, options.userId);
    if (!options.lock(fd))
      throw new SwapError(
        'ERR_IO_IN_USE',
        `${path}: ${options.holderOf(fstatSync(fd)) || 'another swap'} uses this file; name another`,
        {
          path,
        },
      );
    // The same file again, whatever lies at the path by now; its lock is fd's.
    const { fd: data, isDirect } = openFd(`/proc/self/fd/${fd}`, { readOnly: false, direct: true });
    const io = ioOf(data, options.punchHole);
    const close = (): void => {
      io.close();
      closeSync(fd);
    };
    return { io: { ...io, close }, sizeBytes: fstatSync(fd).size, isDirect, isNew, fd };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function makeOrOpen(path: string): { fd: number; isNew: boolean } {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  try {
    return { fd: openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600), isNew: true };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  try {
    return { fd: openSync(path, O_RDWR | O_NOFOLLOW), isNew: false };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ELOOP') throw error;
    throw new SwapError('ERR_IO_UNSAFE_PATH', `${path}: a link; name the file itself`, { path });
  }
}

function checkPrivate(path: string, fd: number, userId: number): void {
  const stat = fstatSync(fd);
  const why = !stat.isFile()
    ? 'it is no regular file'
    : stat.uid !== userId
      ? 'it belongs to somebody else'
      : (stat.mode & 0o077) !== 0
        ? 'others may read or write it (chmod 600)'
        : stat.nlink !== 1
          ? 'it has a second name'
          : '';
  if (why !== '')
    throw new SwapError('ERR_IO_UNSAFE_PATH', `${path}: not private: ${why}`, { path });
}

function ioOf(fd: number, punchHole: PunchHole | null): FileIo {
  return {
    read: (data, at, length, position) => readSync(fd, data, at, length, position),
    write: (data, at, length, position) => writeSync(fd, data, at, length, position),
    sync: () => fdatasyncSync(fd),
    punchHole: (position, length) => punchHole?.(fd, position, length) ?? false,
    close: () => closeSync(fd),
  };
}
