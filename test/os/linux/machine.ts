/** Shared by the tests of os/linux/: the C library, and the reasons to skip a test on this machine. */
import { type Linux, loadLinux } from '../../../src/os/linux/system-call.ts';
import type { UffdAccess } from '../../../src/os/linux/userfaultfd-open.ts';
import { openUserfaultfd } from '../../../src/os/linux/userfaultfd-open.ts';

const answer = loadLinux();

/** False, or why this machine cannot run tests of Linux calls. */
export const noLinux: string | false = answer.linux === null && answer.reason;

/** The C library, for tests that are skipped by `noLinux`. */
export function theLinux(): Linux {
  if (answer.linux === null) throw new Error(answer.reason);
  return answer.linux;
}

/** False, or why this machine has no userfaultfd with these features by one of these methods. */
export function noUffd(features: number, access?: readonly UffdAccess[]): string | false {
  if (answer.linux === null) return answer.reason;
  const wishes = { required: features, ...(access === undefined ? {} : { access }) };
  const { uffd, reason } = openUserfaultfd(answer.linux, wishes);
  uffd?.close();
  return uffd === null && reason;
}

/** The errno of the ERR_IO_SYSTEM error that `action` throws. */
export function errnoOf(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    const { code, facts } = error as { code?: string; facts?: Record<string, unknown> };
    if (code === 'ERR_IO_SYSTEM') return facts?.['errno'];
    throw error;
  }
  return 'no error';
}
