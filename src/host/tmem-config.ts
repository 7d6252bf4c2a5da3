/** The settings of the tmem socket. */
import { SwapError } from '../base/errors.ts';
import type { AccessList } from '../nbd/protocol/exports.ts';
import { changedAccess, type Ids } from './disk-access.ts';

export interface TmemConfig {
  /** Absolute. */
  readonly path: string;
  /** Permission bits of the socket. */
  readonly mode: number;
  /** Group of the socket; null: that of the host. */
  readonly gid: number | null;
  /** Maximum memory of all pages, bytes; 0: only the total limit. */
  readonly limitBytes: number;
  /** Most pages of each user without its own cap; 0: any number. */
  readonly cap: number;
  /** The users and groups that may connect; null: all that the mode admits. */
  readonly access: AccessList | null;
}

/** The settings as given. */
export interface TmemValues {
  readonly tmem?: string;
  readonly 'tmem-mode': number;
  readonly 'tmem-group'?: number;
  readonly 'tmem-limit'?: number;
  readonly 'tmem-cap': number;
  readonly 'tmem-allow-uid'?: Ids;
  readonly 'tmem-allow-gid'?: Ids;
}

/** Share of the total limit that tmem has by default. */
const TOTAL_SHARE = 1 / 4;

/**
 * @param path absolute; null: no socket
 * @param from the place of a setting, for messages; null: it is not set
 * @throws SwapError ERR_ARG_CONFLICT
 */
export function tmemConfig(
  values: TmemValues,
  path: string | null,
  totalLimitBytes: number,
  from: (name: string) => string | null,
): TmemConfig | null {
  if (path === null) {
    for (const name of Object.keys(values)) {
      const place = name.startsWith('tmem-') ? from(name) : null;
      if (place !== null)
        throw new SwapError('ERR_ARG_CONFLICT', `${place} requires --tmem PATH`, { key: place });
    }
    return null;
  }
  const [uids, gids] = [values['tmem-allow-uid'], values['tmem-allow-gid']];
  const isOpen = uids === undefined && gids === undefined;
  return {
    path,
    mode: values['tmem-mode'],
    gid: values['tmem-group'] ?? null,
    limitBytes: values['tmem-limit'] ?? Math.floor(totalLimitBytes * TOTAL_SHARE),
    cap: values['tmem-cap'],
    access: isOpen
      ? null
      : changedAccess(null, {
          ...(uids === undefined ? {} : { uids }),
          ...(gids === undefined ? {} : { gids }),
        }),
  };
}
