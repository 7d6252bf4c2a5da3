/** Whether this system can page memory transparently. Opens a userfaultfd and closes it; starts no thread. */
import { PAGE_BYTES } from '../base/units.ts';
import { loadLinux } from '../os/linux/system-call.ts';
import { openUserfaultfd } from '../os/linux/userfaultfd-open.ts';

/** Why memory cannot be paged here; empty if it can. */
export function unsupportedReason(): string {
  const { linux, reason } = loadLinux();
  if (linux === null) return reason;
  if (linux.pageBytes !== PAGE_BYTES)
    return `this kernel has pages of ${linux.pageBytes} bytes, not ${PAGE_BYTES}`;
  const opened = openUserfaultfd(linux);
  opened.uffd?.close();
  return opened.reason;
}
