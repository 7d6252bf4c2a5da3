/** Whether this system can page memory transparently: by a userfaultfd, or by native code. Starts no thread. */
import { PAGE_BYTES } from '../base/units.ts';
import { loadLinux } from '../os/linux/system-call.ts';
import { openUserfaultfd } from '../os/linux/userfaultfd-open.ts';
import { loadNativeFaults } from '../os/native-faults.ts';

/** Whether native code can serve faults without a userfaultfd, and is allowed to. */
const canMapFiles = (): boolean =>
  process.env['FRONTSWAP_FAULTS'] !== 'javascript' && loadNativeFaults().native !== null;

/** Why memory cannot be paged here; empty if it can. */
export function unsupportedReason(): string {
  const { linux, reason } = loadLinux();
  if (linux === null) return reason;
  if (linux.pageBytes !== PAGE_BYTES)
    return `this kernel has pages of ${linux.pageBytes} bytes, not ${PAGE_BYTES}`;
  const opened = openUserfaultfd(linux);
  opened.uffd?.close();
  return opened.uffd !== null || canMapFiles() ? '' : opened.reason;
}
