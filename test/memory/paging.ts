/** Whether this machine can page memory; tests that need it are skipped with the reason. */
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { UffdFeature } from '../../src/os/linux/uffd-constants.ts';
import { openUserfaultfd } from '../../src/os/linux/userfaultfd-open.ts';

function probe(): { readonly reason: string | false; readonly features: number } {
  const { linux, reason } = loadLinux();
  if (linux === null) return { reason, features: 0 };
  const { uffd, reason: refused } = openUserfaultfd(linux, { optional: UffdFeature.poison });
  if (uffd === null) return { reason: refused, features: 0 };
  uffd.close();
  return { reason: false, features: uffd.features };
}

const { reason, features } = probe();

/** For the `skip` of a test: false, or why memory cannot be paged here. */
export const skipUnlessPaging: string | false = reason;

/** Whether lost pages can be poisoned, so that an access gets SIGBUS (Linux 6.6). */
export const canPoison: boolean = (features & UffdFeature.poison) !== 0;
