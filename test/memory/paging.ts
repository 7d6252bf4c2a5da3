/** Whether this machine pages memory, for tests that need it and say so by name when it does not. */
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { UffdFeature } from '../../src/os/linux/uffd-constants.ts';
import { openUserfaultfd } from '../../src/os/linux/userfaultfd-open.ts';

function look(): { readonly reason: string | false; readonly features: number } {
  const { linux, reason } = loadLinux();
  if (linux === null) return { reason, features: 0 };
  const { uffd, reason: refused } = openUserfaultfd(linux, { optional: UffdFeature.poison });
  if (uffd === null) return { reason: refused, features: 0 };
  uffd.close();
  return { reason: false, features: uffd.features };
}

const { reason, features } = look();

/** For the `skip` of a test: false, or why memory cannot be paged here. */
export const skipUnlessPaging: string | false = reason;

/** A page that is lost can be made to kill who touches it (Linux 6.6). */
export const canPoison: boolean = (features & UffdFeature.poison) !== 0;
