/**
 * Opens a userfaultfd: by which of the three ways, and with which features.
 *
 *   userfaultfd(2)         CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd = 1    all faults, also the kernel's
 *   /dev/userfaultfd       whoever may open the file (6.1)                        the same
 *   UFFD_USER_MODE_ONLY    anybody (5.11)                                         faults in user mode; a system call
 *                                                                                 that meets a missing page: EFAULT
 *
 * Features are settled once for a descriptor, and asking for one that the kernel lacks refuses them all. So a second
 * descriptor asks for none first and learns the list.
 *
 * Sources: userfaultfd(2), ioctl_userfaultfd(2), Documentation/admin-guide/mm/userfaultfd.rst.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { Errno, errnoName } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';
import { featureNames, UFFD_API_VERSION, UffdRequest } from './uffd-constants.ts';
import { Userfaultfd } from './userfaultfd.ts';

/** How the descriptor was got; `userMode` is the one whose faults in system calls are not reported. */
export type UffdAccess = 'system-call' | 'device' | 'user-mode';

/** UFFD_USER_MODE_ONLY of userfaultfd(2). */
const USER_MODE_ONLY = 1;
/** O_CLOEXEC and O_NONBLOCK, the same numbers on x86-64 and arm64. */
const FLAGS = 0o2000000 | 0o4000;
const API_BYTES = 24;

export interface UffdWishes {
  /** Without these there is no descriptor. A mask of UffdFeature. */
  readonly required?: number;
  /** Taken where the kernel has them. */
  readonly wanted?: number;
  /** Only these ways are tried, in the usual order; for tests, and for who must see the kernel's faults too. */
  readonly access?: readonly UffdAccess[];
}

export interface UffdAnswer {
  /** Null when there is none; `reason` says why. Its `features` are those that are on. */
  readonly uffd: Userfaultfd | null;
  readonly access: UffdAccess | null;
  /** All features of this kernel, of which some are on. */
  readonly offered: number;
  /** Empty when there is one. */
  readonly reason: string;
}

const allWays: readonly UffdAccess[] = ['system-call', 'device', 'user-mode'];

/** A userfaultfd with as many of the features as can be had, or the reason why there is none. */
export function openUserfaultfd(linux: Linux, wishes: UffdWishes = {}): UffdAnswer {
  const { required = 0, wanted = 0, access = allWays } = wishes;
  const refusals: string[] = [];
  for (const way of allWays.filter((w) => access.includes(w))) {
    const fd = openBy(linux, way);
    if (fd < 0) {
      refusals.push(`${way}: ${errnoName(-fd)}`);
      continue;
    }
    let isKept = false;
    try {
      const offered = offeredBy(linux, way);
      const missing = required & ~offered;
      if (missing !== 0)
        return none(`the kernel lacks ${featureNames(missing).join(', ')}`, offered);
      const features = (required | wanted) & offered;
      const errno = shakeHands(linux, fd, features).errno;
      if (errno !== 0) return none(`the features are refused: ${errnoName(errno)}`, offered); // EPERM: eventFork
      isKept = true;
      return { uffd: new Userfaultfd(linux, fd, features), access: way, offered, reason: '' };
    } finally {
      if (!isKept) linux.close(fd);
    }
  }
  return none(`no userfaultfd: ${refusals.join('; ')}`, 0);
}

function none(reason: string, offered: number): UffdAnswer {
  return { uffd: null, access: null, offered, reason };
}

/** The features of this kernel, by a descriptor of its own that asks for none. */
function offeredBy(linux: Linux, way: UffdAccess): number {
  const probe = openBy(linux, way);
  if (probe < 0) return 0;
  try {
    const { errno, offered } = shakeHands(linux, probe, 0);
    return errno === 0 ? offered : 0;
  } finally {
    linux.close(probe);
  }
}

/** @returns a descriptor, or minus the errno that says why this way is closed */
function openBy(linux: Linux, way: UffdAccess): number {
  if (way === 'device') return openByDevice(linux);
  const flags = way === 'user-mode' ? FLAGS | USER_MODE_ONLY : FLAGS;
  const fd = linux.systemCall(linux.numbers.userfaultfd, flags, 0, 0);
  return fd === -1 ? -linux.errno() : fd;
}

function openByDevice(linux: Linux): number {
  let device: number;
  try {
    device = openSync('/dev/userfaultfd', constants.O_RDWR);
  } catch (error) {
    const { errno = -Errno.ENOENT } = error as NodeJS.ErrnoException;
    return errno;
  }
  const fd = linux.ioctl(device, UffdRequest.create, FLAGS);
  const errno = fd === -1 ? linux.errno() : 0;
  closeSync(device);
  return errno === 0 ? fd : -errno;
}

/** UFFDIO_API. After a refusal the descriptor may be asked again. */
function shakeHands(
  linux: Linux,
  fd: number,
  features: number,
): { errno: number; offered: number } {
  const api = new Struct(linux, API_BYTES);
  api.set64(0, UFFD_API_VERSION);
  api.set64(8, features);
  if (linux.ioctl(fd, UffdRequest.api, api.address) !== 0)
    return { errno: linux.errno(), offered: 0 };
  return { errno: 0, offered: api.get32(8) };
}
