/**
 * Opens a disk's backing: a file or a block device. It stores guests' pages unencrypted, and its previous
 * contents are overwritten.
 *
 *   path ─ stat: file or device? ─▶ open ─ fstat of the descriptor: owner, mode, already in use? ─▶ file disk
 *
 * Invariants
 * - The host reads and writes no file that other users can access, and no device that every user can open.
 * - No two disks of one process use the same file or device, even under different paths.
 * - A block device is opened with O_EXCL: the kernel refuses one that is mounted, a swap area, or open with O_EXCL.
 * - A file is locked (flock): no two hosts use the same one. The lock ends with the process, in every case.
 * - The file or device has the size of its disk.
 *
 * Not covered: the contents of the file, and processes that do not lock it.
 */
import { readFileSync, type Stats, statSync } from 'node:fs';
import { SwapError } from '../base/errors.ts';
import { FileDisk } from '../block/disks/file-disk.ts';
import { openFile } from '../block/disks/file-io.ts';
import { systemPunchHole } from '../os/linux/fallocate.ts';
import { holderOf, majorOf, minorOf, systemFileLock } from '../os/linux/file-lock.ts';
import { errnoOf, systemError } from '../os/system-error.ts';

/** Bios per tick; each one is a system call, during which all clients wait. */
const BIOS_PER_TICK = 8;

/** A backing that is open. */
export interface OpenBacking {
  readonly disk: FileDisk;
  /** Of the file or device, independent of its path. */
  readonly identity: string;
}

/** Identity of the file or device behind `stat`, independent of its path. */
export const identityOf = (stat: Stats): string =>
  stat.isBlockDevice() ? `device ${stat.rdev}` : `file ${stat.dev}:${stat.ino}`;

/** Why the file or device must not store pages; '' if it may. */
export function flawOf(stat: Stats, uid: number): string {
  const { mode } = stat;
  if (stat.isBlockDevice()) {
    // Members of the device's group can read every file on it as well.
    if (stat.uid !== uid && stat.uid !== 0) return `belongs to user ${stat.uid}, not to ${uid}`;
    return (mode & 0o007) === 0 ? '' : 'is accessible to all users';
  }
  if (!stat.isFile()) return 'is neither a file nor a block device';
  if (stat.uid !== uid) return `belongs to user ${stat.uid}, not to ${uid}`;
  return (mode & 0o077) === 0 ? '' : 'is accessible to other users';
}

/** The backings of one process. */
export class BackingFiles {
  readonly #uid: number;
  readonly #flock = systemFileLock(process.platform);
  /** Identities of the open files. */
  readonly #identities = new Set<string>();

  constructor(uid: number) {
    this.#uid = uid;
  }

  /** @throws SwapError ERR_IO_SYSTEM, ERR_IO_UNSAFE_PATH, ERR_ARG_CONFLICT, ERR_ARG_VALUE */
  open(path: string, sizeBytes: number): OpenBacking {
    const punchHole = systemPunchHole(process.platform);
    try {
      // Opening another kind of device can have side effects: a tape rewinds.
      const kind = statSync(path);
      if (!kind.isFile() && !kind.isBlockDevice())
        throw new SwapError(
          'ERR_ARG_VALUE',
          `backing '${path}' is neither a file nor a block device`,
          {
            key: 'backing',
            value: path,
          },
        );
      let identity = '';
      const { io, isDirect } = openFile(path, {
        readOnly: false,
        direct: true,
        punchHole,
        isExclusive: kind.isBlockDevice(),
        check: (stat, fd) => {
          identity = this.#checked(path, stat);
          checkSize(path, stat, sizeBytes);
          this.#lock(path, stat, fd);
          this.#identities.add(identity);
        },
      });
      const close = (): void => {
        this.#identities.delete(identity);
        io.close();
      };
      const options = { sizeBytes, readOnly: false, isDirect, biosPerTick: BIOS_PER_TICK };
      return { disk: new FileDisk({ ...io, close }, options), identity };
    } catch (cause) {
      if (cause instanceof SwapError) throw cause;
      throw systemError(`open the backing ${path}`, cause, adviceFor(cause, path, sizeBytes));
    }
  }

  #lock(path: string, stat: Stats, fd: number): void {
    if (!stat.isFile() || this.#flock(fd)) return;
    const holder = holderOf(stat) || 'another process';
    throw new SwapError(
      'ERR_IO_IN_USE',
      `the backing ${path} is in use by ${holder}: stop that process, or choose another file`,
      { path },
    );
  }

  /** Returns the identity of the opened file or device; refuses an unsafe one, and one that another disk uses. */
  #checked(path: string, stat: Stats): string {
    const flaw = flawOf(stat, this.#uid);
    if (flaw !== '') {
      const advice = stat.isFile() ? '; make it private (chown, chmod 600)' : '';
      throw new SwapError('ERR_IO_UNSAFE_PATH', `the backing ${path} ${flaw}${advice}`, {
        path,
        uid: stat.uid,
        mode: stat.mode & 0o777,
      });
    }
    const identity = identityOf(stat);
    if (this.#identities.has(identity))
      throw new SwapError(
        'ERR_ARG_CONFLICT',
        `the backing ${path} already belongs to another disk`,
        {
          key: 'backing',
          value: path,
        },
      );
    return identity;
  }
}

function checkSize(path: string, stat: Stats, sizeBytes: number): void {
  const found = stat.isFile() ? stat.size : deviceBytes(stat);
  if (found === null || found >= sizeBytes) return;
  const advice = stat.isFile() ? `: truncate -s ${sizeBytes} ${path}` : '';
  throw new SwapError(
    'ERR_ARG_VALUE',
    `the backing ${path} has ${found} bytes, its disk needs ${sizeBytes}${advice}`,
    { key: 'backing', value: path },
  );
}

/** Size of a block device; null without sysfs. Source: Documentation/ABI/stable/sysfs-block: size, in sectors of 512 bytes. */
function deviceBytes({ rdev }: Stats): number | null {
  try {
    const size = readFileSync(`/sys/dev/block/${majorOf(rdev)}:${minorOf(rdev)}/size`, 'utf8');
    return Number(size) * 512;
  } catch {
    return null;
  }
}

function adviceFor(cause: unknown, path: string, sizeBytes: number): string {
  const errno = errnoOf(cause);
  if (errno === 'ENOENT') return `create it first: (umask 077; truncate -s ${sizeBytes} ${path})`;
  return errno === 'EBUSY' ? 'it is mounted, is a swap area, or is open in another process' : '';
}
