/** Requests about the tmem socket, sent to the control socket of a running host. Nothing in a reply is trusted. */
import { exchange, invalid, wholeNumber } from './control-client.ts';
import type { TmemPoolReport, TmemUserReport } from './parts.ts';
import type { TmemDocument } from './tmem-routes.ts';

/** Maximum number of users and pools read from a reply. */
const USERS_MAX = 1024;
const POOLS_MAX = 16;

const isCount = (value: unknown): boolean =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

const userCounts = [
  ...(['uid', 'connections', 'weight', 'cap', 'ephemeralPages', 'persistentPages'] as const),
  ...(['compressedBytes', 'puts', 'gets', 'evictedPages', 'refusedPuts'] as const),
];
const documentCounts = [
  ...(['limitBytes', 'usedBytes', 'freeableBytes', 'ephemeralPages', 'persistentPages'] as const),
];

const fieldsOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

/** Why a value is not the report of a pool; null: it is. */
function whyNoPool(value: unknown): string | null {
  const pool = fieldsOf(value);
  const { uuid, leaseSeconds } = pool;
  for (const key of ['pool', 'connections', 'pages'] as const satisfies (keyof TmemPoolReport)[])
    if (!isCount(pool[key])) return `bad '${key}' of a pool`;
  if (typeof pool['isPersistent'] !== 'boolean') return "bad 'isPersistent' of a pool";
  if (uuid !== null && !(typeof uuid === 'string' && /^[0-9a-f]{32}$/.test(uuid)))
    return "bad 'uuid' of a pool";
  return leaseSeconds === null || isCount(leaseSeconds) ? null : "bad 'leaseSeconds' of a pool";
}

function whyNoUser(value: unknown): string | null {
  const user = fieldsOf(value);
  for (const key of userCounts) if (!isCount(user[key])) return `bad '${key}' of a user`;
  for (const key of ['compress', 'isFrozen'])
    if (typeof user[key] !== 'boolean') return `bad '${key}' of a user`;
  const { pools } = user;
  if (!Array.isArray(pools) || pools.length > POOLS_MAX) return "bad 'pools' of a user";
  return pools.reduce((why: string | null, pool) => why ?? whyNoPool(pool), null);
}

/**
 * Requests the tmem document.
 * @param path the control socket
 * @throws SwapError ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL, ERR_IO_UNSUPPORTED: the host has no tmem socket
 */
export async function askTmem(path: string): Promise<TmemDocument> {
  const reply = await exchange(path, { method: 'GET', url: '/v1/tmem' });
  for (const key of documentCounts) wholeNumber(path, reply, key, 0);
  const { users, schemaVersion } = fieldsOf(reply);
  if (schemaVersion !== 1) throw invalid(path, 'an unknown version of the tmem document');
  if (!Array.isArray(users) || users.length > USERS_MAX) throw invalid(path, "bad 'users'");
  for (const user of users) {
    const why = whyNoUser(user);
    if (why !== null) throw invalid(path, why);
  }
  return reply as TmemDocument;
}

/** The user in a reply. */
function userIn(path: string, reply: unknown): TmemUserReport {
  const { user } = fieldsOf(reply);
  const why = whyNoUser(user);
  if (why !== null) throw invalid(path, why);
  return user as TmemUserReport;
}

/** Changes settings of a user. @param values by key, as the body of PATCH */
export const askTmemSet = async (
  path: string,
  uid: number,
  values: object,
): Promise<TmemUserReport> =>
  userIn(path, await exchange(path, { method: 'PATCH', url: `/v1/tmem/${uid}`, body: values }));

/** Freezes or thaws a user. */
export const askTmemGate = async (
  path: string,
  uid: number,
  verb: 'freeze' | 'thaw',
): Promise<TmemUserReport> =>
  userIn(path, await exchange(path, { method: 'POST', url: `/v1/tmem/${uid}/${verb}` }));

/** Drops all pools of a user. @returns their number */
export async function askTmemDestroy(path: string, uid: number): Promise<number> {
  const reply = await exchange(path, { method: 'DELETE', url: `/v1/tmem/${uid}` });
  return wholeNumber(path, reply, 'destroyedPools', 0);
}
