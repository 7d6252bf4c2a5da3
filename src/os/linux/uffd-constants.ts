/**
 * Numbers and layouts of linux/userfaultfd.h that userfaultfd.ts and its users share. Structs are described there by
 * offsets.
 * Sources: linux/userfaultfd.h of 6.8 (POISON since 6.6, WP_ASYNC 6.7, MOVE 6.8), ioctl_userfaultfd(2).
 */

/** Features that a userfaultfd is opened with. */
export const UffdFeature = {
  faultFlagWriteProtect: 0x1,
  eventFork: 0x2,
  eventRemap: 0x4,
  eventRemove: 0x8,
  missingHugetlbfs: 0x10,
  missingShmem: 0x20,
  eventUnmap: 0x40,
  /** The faulting thread gets SIGBUS instead of waiting for a message. */
  sigbus: 0x80,
  /** Fault messages say which thread waits. */
  threadId: 0x100,
  minorHugetlbfs: 0x200,
  minorShmem: 0x400,
  /** Fault messages say which byte, not only which page. */
  exactAddress: 0x800,
  writeProtectHugetlbfsShmem: 0x1000,
  /** Write protection also of anonymous pages that are not there yet. */
  writeProtectUnpopulated: 0x2000,
  poison: 0x4000,
  /** The kernel lifts write protection itself; PAGEMAP_SCAN then tells what was written. */
  writeProtectAsync: 0x8000,
  move: 0x10000,
} as const;

/** The names of the features in `mask`, for people. */
export function featureNames(mask: number): string[] {
  const names: string[] = [];
  let rest = mask;
  for (const [name, bit] of Object.entries(UffdFeature)) {
    if ((mask & bit) !== 0) names.push(name);
    rest &= ~bit;
  }
  if (rest !== 0) names.push(`a feature 0x${(rest >>> 0).toString(16)}`);
  return names;
}

/** What faults of a range are reported; a mask. */
export const UffdMode = { missing: 0x1, writeProtect: 0x2, minor: 0x4 } as const;

/** What a message is about. */
export const UffdEvent = {
  fault: 0x12,
  fork: 0x13,
  remap: 0x14,
  remove: 0x15,
  unmap: 0x16,
} as const;

/** Flags of a fault; none of the last two: the page is missing. */
export const FaultFlag = { write: 0x1, writeProtect: 0x2, minor: 0x4 } as const;

/** Modes of `copy`, and `dontWake` of every ioctl that resolves a fault. `move` has `allowSourceHoles`. */
export const CopyMode = { wake: 0, dontWake: 0x1, writeProtect: 0x2 } as const;
export const MoveMode = { wake: 0, dontWake: 0x1, allowSourceHoles: 0x2 } as const;
export const ProtectMode = { lift: 0, protect: 0x1, liftDontWake: 0x2 } as const;

/**
 * ioctl(2) requests, as asm-generic/ioctl.h puts them together: two bits of direction (2: the kernel writes, 1: it reads),
 * fourteen of the struct's size, the type 0xaa, the command.
 */
export const UffdRequest = {
  /** Of /dev/userfaultfd: a new descriptor. */
  create: 0x0000aa00,
  api: 0xc018aa3f,
  register: 0xc020aa00,
  unregister: 0x8010aa01,
  wake: 0x8010aa02,
  copy: 0xc028aa03,
  zeroPage: 0xc020aa04,
  move: 0xc028aa05,
  writeProtect: 0xc018aa06,
  continue: 0xc020aa07,
  poison: 0xc020aa08,
} as const;

/** UFFDIO_API asks for this version; there is no other. */
export const UFFD_API_VERSION = 0xaa;
