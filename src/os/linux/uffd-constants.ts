/**
 * Constants of linux/userfaultfd.h for userfaultfd.ts and its users. userfaultfd.ts accesses the structs by offset.
 * Sources: linux/userfaultfd.h of 6.8 (POISON since 6.6, WP_ASYNC 6.7, MOVE 6.8), ioctl_userfaultfd(2).
 */

/** Features of a userfaultfd. */
export const UffdFeature = {
  faultFlagWriteProtect: 0x1,
  eventFork: 0x2,
  eventRemap: 0x4,
  eventRemove: 0x8,
  missingHugetlbfs: 0x10,
  missingShmem: 0x20,
  eventUnmap: 0x40,
  /** The faulting thread gets SIGBUS; no message is sent. */
  sigbus: 0x80,
  /** Fault messages contain the id of the faulting thread. */
  threadId: 0x100,
  minorHugetlbfs: 0x200,
  minorShmem: 0x400,
  /** Fault messages contain the exact address, not only that of the page. */
  exactAddress: 0x800,
  writeProtectHugetlbfsShmem: 0x1000,
  /** Write protection also applies to anonymous pages that are not populated. */
  writeProtectUnpopulated: 0x2000,
  poison: 0x4000,
  /** The kernel removes write protection itself; PAGEMAP_SCAN finds the written pages. */
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

/** Kinds of faults to report for a range; a mask. */
export const UffdMode = { missing: 0x1, writeProtect: 0x2, minor: 0x4 } as const;

/** Type of a message. */
export const UffdEvent = {
  fault: 0x12,
  fork: 0x13,
  remap: 0x14,
  remove: 0x15,
  unmap: 0x16,
} as const;

/** Flags of a fault; without writeProtect and minor: the page is missing. */
export const FaultFlag = { write: 0x1, writeProtect: 0x2, minor: 0x4 } as const;

/** Modes of `copy`; `dontWake` applies to every ioctl that resolves a fault. */
export const CopyMode = { wake: 0, dontWake: 0x1, writeProtect: 0x2 } as const;
export const MoveMode = { wake: 0, dontWake: 0x1, allowSourceHoles: 0x2 } as const;
export const ProtectMode = { lift: 0, protect: 0x1, liftDontWake: 0x2 } as const;

/**
 * ioctl(2) requests in the encoding of asm-generic/ioctl.h: 2 bits direction (2: the kernel writes, 1: it reads), 14
 * bits size of the struct, type 0xaa, command.
 */
export const UffdRequest = {
  /** On /dev/userfaultfd: creates a descriptor. */
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

/** The only version of UFFDIO_API. */
export const UFFD_API_VERSION = 0xaa;
