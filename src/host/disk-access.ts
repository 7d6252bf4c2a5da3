/**
 * The settings allow-uid and allow-gid of a disk: which users and groups see it.
 *
 *   1000:1001   these ids          any    every client sees the disk; the other setting has no effect
 *   none        no id
 *
 * Changing one setting keeps the other one. A list without ids admits no client: removing the last id does not open a disk to
 * all clients; only `any` does.
 */
import { SwapError } from '../base/errors.ts';
import type { AccessList } from '../nbd/protocol/exports.ts';

/** (uid_t)-1 means no user. */
const ID_LIMIT = 0xffff_ffff;
/** Maximum number of ids in a list. */
const IDS_MAX = 256;

/** Numeric ids; `any`: every client. */
export type Ids = readonly number[] | 'any';

/** Absent: unchanged. */
export interface AccessChange {
  readonly uids?: Ids;
  readonly gids?: Ids;
}

export const accessKeys: readonly string[] = ['allow-uid', 'allow-gid'];

/** @throws SwapError ERR_ARG_VALUE */
export function parseIds(from: string, text: string): Ids {
  if (text === 'any') return 'any';
  if (text === 'none') return [];
  const ids = text.split(':');
  const isValid = (id: string): boolean => /^[0-9]{1,10}$/.test(id) && Number(id) < ID_LIMIT;
  if (ids.length <= IDS_MAX && ids.every(isValid)) return [...new Set(ids.map(Number))];
  throw new SwapError(
    'ERR_ARG_VALUE',
    `${from}: '${text}' is not a list of numeric ids, such as 1000 or 1000:1001 (see id -u, id -g), ` +
      `at most ${IDS_MAX}; none and any are also allowed`,
    { key: from, value: text },
  );
}

/**
 * The settings of a disk by key; null: there is none.
 * @param from precedes the key in errors
 * @throws SwapError ERR_ARG_VALUE
 */
export function parseAccess(from: string, given: ReadonlyMap<string, string>): AccessChange | null {
  const [uids, gids] = [given.get('allow-uid'), given.get('allow-gid')];
  if (uids === undefined && gids === undefined) return null;
  return {
    ...(uids === undefined ? {} : { uids: parseIds(`${from}allow-uid`, uids) }),
    ...(gids === undefined ? {} : { gids: parseIds(`${from}allow-gid`, gids) }),
  };
}

/** The list after a change; null: every client sees the disk. */
export function changedAccess(before: AccessList | null, change: AccessChange): AccessList | null {
  const { uids = before?.uids ?? [], gids = before?.gids ?? [] } = change;
  return uids === 'any' || gids === 'any' ? null : { uids, gids };
}

/** Only a Unix socket identifies the user of a client. */
export const noUnixSocket = (from: string, disk: string): SwapError =>
  new SwapError(
    'ERR_ARG_CONFLICT',
    `${from}: no client could see '${disk}': allow-uid and allow-gid require a Unix socket (--unix)`,
    { key: from, value: disk },
  );
