/** Writes the settings of a disk as text that splitDisk() reads: `swap0=1073741824,limit=536870912`. */
import { resolve } from 'node:path';
import { type DiskConfig, parseDiskPath } from './disk-config.ts';

const ids = (list: readonly number[]): string => (list.length === 0 ? 'none' : list.join(':'));

/** @throws SwapError ERR_ARG_VALUE: the path of its backing has a comma, an equals sign or a control character */
export function textOfDisk(disk: DiskConfig): string {
  const { name, sizeBytes, limitBytes, isShared, keepSeconds, rateBytes, vhostUser, access } = disk;
  const parts = [`${name}=${sizeBytes}`, `limit=${limitBytes}`];
  if (disk.backing !== undefined)
    parts.push(`backing=${parseDiskPath(`disk '${name}': backing`, resolve(disk.backing))}`);
  if (isShared) parts.push('shared=on');
  if (vhostUser !== undefined) parts.push(`vhost-user=${vhostUser}`);
  if (keepSeconds !== null) parts.push(`keep=${keepSeconds}`);
  if (rateBytes !== 0) parts.push(`rate=${rateBytes}`);
  if (access !== undefined)
    parts.push(`allow-uid=${ids(access.uids)}`, `allow-gid=${ids(access.gids)}`);
  return parts.join(',');
}
