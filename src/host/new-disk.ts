/** Checks of a disk that is added to the disks of a host. */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import { noUnixSocket } from './disk-access.ts';
import { DISKS_MAX, type DiskConfig } from './disk-config.ts';
import { underTotal } from './limits.ts';

export interface NewDiskFacts {
  /** Limit of all disks together, bytes; 0 = none. */
  readonly totalLimitBytes: number;
  /** The host listens on a Unix socket, where clients have user and group ids. */
  readonly hasUnix: boolean;
}

/**
 * Returns the disk with its effective limit.
 * @param disks those of the host
 * @throws SwapError ERR_ARG_CONFLICT, ERR_ARG_VALUE
 */
export function checkNewDisk(
  requested: DiskConfig,
  disks: readonly DiskConfig[],
  { totalLimitBytes, hasUnix }: NewDiskFacts,
): DiskConfig {
  const { name, backing, vhostUser } = requested;
  if (disks.some((other) => other.name === name))
    throw new SwapError('ERR_ARG_CONFLICT', `the host already has a disk '${name}'`, {
      key: 'name',
      value: name,
    });
  if (requested.access !== undefined && !hasUnix) throw noUnixSocket('the disk', name);
  if (backing !== undefined && disks.some((other) => other.backing === backing))
    throw new SwapError('ERR_ARG_CONFLICT', `another disk uses the backing '${backing}'`, {
      key: 'backing',
      value: backing,
    });
  if (vhostUser !== undefined && disks.some((other) => other.vhostUser === vhostUser))
    throw new SwapError('ERR_ARG_CONFLICT', `another disk uses the socket '${vhostUser}'`, {
      key: 'vhost-user',
      value: vhostUser,
    });
  if (disks.length >= DISKS_MAX)
    throw new SwapError('ERR_ARG_VALUE', `the host has ${DISKS_MAX} disks, the maximum`, {
      value: name,
    });
  return underTotal([...disks, requested], totalLimitBytes, '--total-limit').at(-1)!;
}

export const unknownDisk = (name: string, names: readonly string[]): SwapError =>
  new SwapError('ERR_ARG_UNKNOWN', `the host has no disk '${name}'${suggestion(name, names)}`, {
    value: name,
  });
