/** Whether this machine pages memory, for tests that need it and say so by name when it does not. */
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { openUserfaultfd } from '../../src/os/linux/userfaultfd-open.ts';

function reason(): string | false {
  const { linux, reason: why } = loadLinux();
  if (linux === null) return why;
  const { uffd, reason: refused } = openUserfaultfd(linux);
  if (uffd === null) return refused;
  uffd.close();
  return false;
}

/** For the `skip` of a test: false, or why memory cannot be paged here. */
export const skipUnlessPaging: string | false = reason();
