/**
 * Checks whether this machine can page memory transparently, and names the fix for each problem; `frontswap doctor` prints the
 * checks. The facts are a parameter, so that tests can simulate other machines.
 */
import { constants } from 'node:buffer';
import { accessSync, constants as fsConstants, readFileSync } from 'node:fs';
import {
  Capability,
  hasCapability,
  type KernelRelease,
  kernelRelease,
  unprivilegedUserfaultfd,
} from '../os/linux/process.ts';
import { loadLinux } from '../os/linux/system-call.ts';
import { UffdFeature } from '../os/linux/uffd-constants.ts';
import { openUserfaultfd, type UffdAccess } from '../os/linux/userfaultfd-open.ts';
import { loadNativeFaults } from '../os/native-faults.ts';

/** good: fully supported; limited: works with a restriction; missing: memory cannot be paged transparently. */
export type Verdict = 'good' | 'limited' | 'missing';

export interface Check {
  readonly name: string;
  readonly verdict: Verdict;
  readonly found: string;
  /** What to do; empty if nothing. */
  readonly fix: string;
}

export interface Facts {
  readonly platform: string;
  readonly architecture: string;
  readonly nodeVersion: string;
  /** Maximum size of an ArrayBuffer. */
  readonly bufferMaxBytes: number;
  readonly kernel: KernelRelease;
  /** Why the foreign function interface does not load; empty if it does. */
  readonly ffiReason: string;
  readonly pageBytes: number;
  readonly isRoot: boolean;
  readonly hasPtrace: boolean;
  /** vm.unprivileged_userfaultfd; null: no such file. */
  readonly sysctl: number | null;
  readonly canOpenDevice: boolean;
  /** How a userfaultfd was opened; null: it was not, and `uffdReason` says why. */
  readonly access: UffdAccess | null;
  readonly uffdReason: string;
  /** A mask of UffdFeature. */
  readonly features: number;
  /** Why native code cannot serve faults; empty if it can. */
  readonly nativeReason: string;
  /** FRONTSWAP_FAULTS; empty if it is not set. */
  readonly faults: string;
  /** vm.overcommit_memory; null: not Linux. */
  readonly overcommit: number | null;
  /** RLIMIT_AS, bytes. */
  readonly addressSpaceBytes: number;
  /** vm.max_map_count. */
  readonly maxMaps: number;
}

const GIB = 2 ** 30;

export function gatherFacts(): Facts {
  const { linux, reason } = loadLinux();
  const uffd = linux === null ? null : openUserfaultfd(linux);
  uffd?.uffd?.close();
  return {
    platform: process.platform,
    architecture: process.arch,
    nodeVersion: process.version,
    bufferMaxBytes: constants.MAX_LENGTH,
    kernel: kernelRelease(),
    ffiReason: reason,
    pageBytes: linux?.pageBytes ?? 0,
    isRoot: process.getuid?.() === 0,
    hasPtrace: linux !== null && hasCapability(Capability.sysPtrace),
    sysctl: unprivilegedUserfaultfd(),
    canOpenDevice: canOpen('/dev/userfaultfd'),
    access: uffd?.access ?? null,
    uffdReason: uffd?.reason ?? reason,
    features: uffd?.offered ?? 0,
    nativeReason: loadNativeFaults().reason,
    faults: process.env['FRONTSWAP_FAULTS'] ?? '',
    overcommit: numberIn('/proc/sys/vm/overcommit_memory'),
    addressSpaceBytes: addressSpaceBytes(),
    maxMaps: numberIn('/proc/sys/vm/max_map_count') ?? Number.POSITIVE_INFINITY,
  };
}

/** All checks; each comes after those that it depends on. */
export function diagnose(facts: Facts): Check[] {
  return [
    platformCheck(facts),
    nodeCheck(facts),
    ffiCheck(facts),
    kernelCheck(facts),
    userfaultfdCheck(facts),
    systemCallCheck(facts),
    featureCheck(facts),
    faultsCheck(facts),
    limitsCheck(facts),
  ];
}

/** The worst verdict of the checks. */
export function verdictOf(checks: readonly Check[]): Verdict {
  const has = (verdict: Verdict): boolean => checks.some((check) => check.verdict === verdict);
  return has('missing') ? 'missing' : has('limited') ? 'limited' : 'good';
}

const check = (name: string, verdict: Verdict, found: string, fix = ''): Check => ({
  name,
  verdict,
  found,
  fix,
});

function platformCheck({ platform, architecture, pageBytes }: Facts): Check {
  const found = `${platform} ${architecture}${pageBytes > 0 ? `, pages of ${pageBytes} bytes` : ''}`;
  if (platform !== 'linux')
    return check(
      'platform',
      'missing',
      found,
      'transparent paging needs Linux; array() works here',
    );
  if (pageBytes !== 0 && pageBytes !== 4096)
    return check(
      'platform',
      'missing',
      found,
      'use a kernel with pages of 4096 bytes; array() works here',
    );
  return check('platform', 'good', found);
}

function nodeCheck({ nodeVersion, bufferMaxBytes }: Facts): Check {
  if (bufferMaxBytes > 4 * GIB)
    return check('node', 'good', `${nodeVersion}: regions may exceed 4 GiB`);
  return check(
    'node',
    'limited',
    `${nodeVersion}: a region has at most ${bufferMaxBytes / GIB} GiB`,
    'for larger regions use Node 22 or later, or map several regions',
  );
}

function ffiCheck({ ffiReason }: Facts): Check {
  if (ffiReason === '') return check('ffi', 'good', 'koffi loads');
  return check(
    'ffi',
    'missing',
    ffiReason,
    'reinstall with optional dependencies: npm install --include=optional',
  );
}

function kernelCheck({ kernel }: Facts): Check {
  const { major, minor, text } = kernel;
  if (major > 5 || (major === 5 && minor >= 11)) return check('kernel', 'good', text);
  return check(
    'kernel',
    'missing',
    text,
    'use Linux 5.11 or later: it has userfaultfd with write protection for unprivileged users',
  );
}

function userfaultfdCheck(facts: Facts): Check {
  const { access, uffdReason, sysctl } = facts;
  const without = withoutUserfaultfd(facts);
  if (access === null)
    return check(
      'userfaultfd',
      without,
      uffdReason,
      'in a container, allow the system call userfaultfd in its seccomp profile; otherwise use a kernel with CONFIG_USERFAULTFD',
    );
  const how = {
    'system-call':
      sysctl === 1 ? 'by system call, allowed to all users' : 'by system call, with privilege',
    device: 'by /dev/userfaultfd',
    'user-mode': 'by system call, for faults in user mode only',
  }[access];
  return check('userfaultfd', 'good', how);
}

/** The verdict if there is no userfaultfd: native code can page memory without one, unless the user chose JavaScript. */
const withoutUserfaultfd = ({ nativeReason, faults }: Facts): Verdict =>
  nativeReason === '' && faults !== 'javascript' ? 'limited' : 'missing';

/** Whether a read(2) into evicted memory works or fails with EFAULT. */
function systemCallCheck(facts: Facts): Check {
  const { access, sysctl, canOpenDevice } = facts;
  if (access === 'system-call' || access === 'device')
    return check('system calls', 'good', 'system calls may access evicted pages');
  const found = `a system call that accesses an evicted page fails with EFAULT (vm.unprivileged_userfaultfd = ${sysctl ?? 'none'}, /dev/userfaultfd ${canOpenDevice ? 'can' : 'cannot'} be opened)`;
  return check(
    'system calls',
    access === null ? withoutUserfaultfd(facts) : 'limited',
    found,
    'pin() buffers that you pass to fs and net; or set vm.unprivileged_userfaultfd=1; or give your group access to /dev/userfaultfd; or grant CAP_SYS_PTRACE',
  );
}

function featureCheck(facts: Facts): Check {
  const { features, access } = facts;
  if (access === null && withoutUserfaultfd(facts) === 'limited')
    return check(
      'features',
      'limited',
      'memory files in place of userfaultfd: faults take longer, and ArrayBuffers are not paged',
      'allow userfaultfd',
    );
  if (access === null) return check('features', 'missing', 'not available without userfaultfd');
  if ((features & UffdFeature.faultFlagWriteProtect) === 0)
    return check(
      'features',
      'missing',
      'no write protection',
      'use Linux 5.7 or later on x86-64 or arm64',
    );
  if ((features & UffdFeature.poison) === 0)
    return check(
      'features',
      'limited',
      'no POISON (6.6): a lost page ends the process immediately',
      'use Linux 6.6 or later',
    );
  return check('features', 'good', 'write protection, POISON');
}

/** Who serves faults of a program under register, and why. */
function faultsCheck(facts: Facts): Check {
  const { nativeReason, faults, access, uffdReason } = facts;
  if (!['', 'javascript', 'thread', 'signal', 'memfd'].includes(faults))
    return check(
      'faults',
      'limited',
      `FRONTSWAP_FAULTS is '${faults}', so no swap opens`,
      'set FRONTSWAP_FAULTS to javascript, thread, signal or memfd, or unset it',
    );
  if (access === null && withoutUserfaultfd(facts) === 'limited')
    return check(
      'faults',
      'limited',
      `native code (memfd), because there is no userfaultfd: ${uffdReason}; shared memories are not paged`,
      'allow userfaultfd: faults then take less than half the time',
    );
  if (faults === 'thread' || faults === 'signal' || faults === 'memfd') {
    if (nativeReason === '') return check('faults', 'good', `native code (${faults})`);
    return check(
      'faults',
      'limited',
      `JavaScript, not native code (${faults}): ${nativeReason}`,
      'unset FRONTSWAP_FAULTS; do not page memory that threads wait on (Atomics.wait)',
    );
  }
  if (faults === 'javascript')
    return check(
      'faults',
      'good',
      `JavaScript (FRONTSWAP_FAULTS); shared memories are not paged; native code ${nativeReason === '' ? 'loads' : `does not load: ${nativeReason}`}`,
    );
  if (nativeReason === '')
    return check(
      'faults',
      'good',
      `native code (thread), the default of register and run; shared memories are ${access === 'user-mode' ? 'not paged, because system calls of workers would fail (FRONTSWAP_SHARED=1 pages them)' : 'paged'}; openSwap() uses JavaScript by default`,
    );
  return check(
    'faults',
    'limited',
    `JavaScript, because native code does not load: ${nativeReason}; shared memories are not paged`,
    'reinstall frontswap on a machine with x86-64 or arm64',
  );
}

function limitsCheck({ overcommit, addressSpaceBytes, maxMaps }: Facts): Check {
  if (addressSpaceBytes < 64 * GIB)
    return check(
      'limits',
      'limited',
      `address space is limited to ${Math.floor(addressSpaceBytes / GIB)} GiB`,
      'ulimit -v unlimited: a region reserves address space for its full size',
    );
  if (overcommit === 2)
    return check(
      'limits',
      'limited',
      'vm.overcommit_memory = 2: address space counts as memory',
      'sysctl vm.overcommit_memory=0',
    );
  if (maxMaps < 65530)
    return check(
      'limits',
      'limited',
      `vm.max_map_count = ${maxMaps}`,
      'sysctl vm.max_map_count=65530',
    );
  return check('limits', 'good', 'address space and mappings suffice');
}

function canOpen(path: string): boolean {
  try {
    accessSync(path, fsConstants.R_OK | fsConstants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function numberIn(path: string): number | null {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

/** The soft limit of RLIMIT_AS, from /proc/self/limits. */
function addressSpaceBytes(): number {
  try {
    const text = readFileSync('/proc/self/limits', 'utf8');
    const soft = /^Max address space\s+(\S+)/m.exec(text)?.[1] ?? 'unlimited';
    return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
