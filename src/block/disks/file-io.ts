/**
 * The system calls of a file disk behind an interface, so that tests can make each of them fail. All are synchronous
 * and throw the system error with its `code` (ENOSPC, EIO).
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

/** The system calls of a file disk on one open file; offsets and lengths in bytes. */
export interface FileIo {
  /** Reads at `position`. Returns the bytes read, 1 .. length; 0 at the end of the file. */
  read(data: Uint8Array, at: number, length: number, position: number): number;
  /** Writes at `position`. Returns the bytes written, 1 .. length. */
  write(data: Uint8Array, at: number, length: number, position: number): number;
  /** Flushes written data to stable storage. */
  sync(): void;
  /** Punches a hole, which then reads as zeros; false when the file system cannot. */
  punchHole(position: number, length: number): boolean;
  close(): void;
}

/** Punches holes in open files, see os/linux/fallocate.ts. False when the system or the file system cannot. */
type PunchHole = (fd: number, position: number, length: number) => boolean;

/** An open file or block device. */
export interface OpenedFile {
  readonly io: FileIo;
  /** Size of the file when it was opened; 0 for a block device. */
  readonly sizeBytes: number;
  /** Opened with O_DIRECT: memory, offset and length must be aligned to blocks. */
  readonly isDirect: boolean;
}

/** How openFile() opens a file. */
export interface OpenOptions {
  readonly readOnly: boolean;
  /** Request O_DIRECT; without effect on file systems that lack it (tmpfs). */
  readonly direct: boolean;
  readonly punchHole: PunchHole | null;
  /** O_EXCL: the kernel refuses a block device that is in use. Default false. */
  readonly isExclusive?: boolean;
  /** Called with the opened file before it is used; when it throws, the file is closed. */
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

/** Opens a file or block device. Throws the system error, or the error of `check`. */
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

/** A locked file that no other user can access, as openPrivateFile() returns it. */
export interface PrivateFile extends OpenedFile {
  /** The file was created by this call. */
  readonly isNew: boolean;
  /** A descriptor without O_DIRECT, for unaligned access. It has the lock and is closed after `io`. */
  readonly fd: number;
  /** The descriptor of `io`. */
  readonly ioFd: number;
}

/** System calls and identity that openPrivateFile() needs. */
export interface PrivateOptions {
  readonly punchHole: PunchHole | null;
  /** Locks the open file, as flock(2); false when another process has the lock. */
  readonly lock: (fd: number) => boolean;
  /** Names the process that has the lock, for messages; empty when unknown. */
  readonly holderOf: (stat: Stats) => string;
  /** Required owner of the file: the effective user. */
  readonly userId: number;
}

/**
 * Opens a file that no other user may read or write, or creates it with mode 0600. It does not follow a symbolic link,
 * locks the file, and checks the open descriptor rather than the path.
 * @throws SwapError ERR_IO_UNSAFE_PATH, ERR_IO_IN_USE; the system error
 */
export function openPrivateFile(path: string, options: PrivateOptions): PrivateFile {
  const { fd, isNew } = createOrOpen(path);
  try {
    checkPrivate(path, fd, options.userId);
    if (!options.lock(fd))
      throw new SwapError(
        'ERR_IO_IN_USE',
        `${path}: in use by ${options.holderOf(fstatSync(fd)) || 'another process'}; choose another file`,
        { path },
      );
    // Reopens the checked file, even if the path has changed since; fd keeps the lock.
    const { fd: data, isDirect } = openFd(`/proc/self/fd/${fd}`, { readOnly: false, direct: true });
    const io = ioOf(data, options.punchHole);
    const close = (): void => {
      io.close();
      closeSync(fd);
    };
    return { io: { ...io, close }, sizeBytes: fstatSync(fd).size, isDirect, isNew, fd, ioFd: data };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function createOrOpen(path: string): { fd: number; isNew: boolean } {
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
    throw new SwapError(
      'ERR_IO_UNSAFE_PATH',
      `${path}: is a symbolic link; give the path of the file itself`,
      { path },
    );
  }
}

function checkPrivate(path: string, fd: number, userId: number): void {
  const stat = fstatSync(fd);
  const why = !stat.isFile()
    ? 'it is not a regular file'
    : stat.uid !== userId
      ? 'it belongs to another user'
      : (stat.mode & 0o077) !== 0
        ? 'other users can read or write it (chmod 600)'
        : stat.nlink !== 1
          ? 'it has more than one hard link'
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
