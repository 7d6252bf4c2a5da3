/** Refuses a configuration that other users could change: it names files to write to and a command to run. */
import { type Stats, statSync } from 'node:fs';
import { SwapError } from '../../base/errors.ts';

const unsafe = (path: string, why: string): SwapError =>
  new SwapError('ERR_IO_UNSAFE_PATH', `${path}: ${why}`, { path });

/**
 * @param mode of the file or folder, as stat(2) reports it
 * @throws SwapError ERR_IO_UNSAFE_PATH
 */
export function refuseOpen(path: string, { mode }: Pick<Stats, 'mode'>): void {
  if ((mode & 0o002) === 0) return;
  throw unsafe(
    path,
    `can be changed by all users, who could run commands through it: chmod o-w '${path}'`,
  );
}

/** The trusted owners of drop-ins: this user, root, and the owner of FILE, because the operator chose FILE. */
export function trustedOwners(file: string): readonly number[] {
  const own = process.getuid?.() ?? 0;
  try {
    return [own, 0, statSync(file).uid];
  } catch {
    return [own, 0]; // reading FILE reports the error
  }
}

/**
 * The operator names FILE, but not its drop-ins: if FILE is in a folder such as /tmp, any user could create the folder of
 * drop-ins next to it.
 * @throws SwapError ERR_IO_UNSAFE_PATH
 */
export function refuseForeign(path: string, stat: Stats, owners: readonly number[]): void {
  refuseOpen(path, stat);
  if (owners.includes(stat.uid)) return;
  throw unsafe(
    path,
    `belongs to user ${stat.uid}, who could run commands through it: chown it to ${owners[0]}, or remove it`,
  );
}
