/** Checks the kind of a pool and translates it into the fields of NEW_POOL. */
import { checkInteger } from '../../base/arguments.ts';
import { SwapError } from '../../base/errors.ts';
import { checkOptions } from '../../base/options.ts';
import { NewPoolError, uuidOf } from '../results.ts';
import type { SocketPoolOptions } from './requests.ts';
import { LEASE_FOREVER, PoolFlag } from './wire.ts';

/** Fields of NEW_POOL. */
export interface PoolRequest {
  readonly flags: number;
  readonly lease: number;
  /** 32 hex digits; '': none. */
  readonly uuid: string;
}

const KEYS = ['persistent', 'exclusiveGets', 'uuid', 'leaseSeconds'];

/** @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE, ERR_ARG_CONFLICT */
export function poolRequest(options: SocketPoolOptions): PoolRequest {
  checkOptions(options, 'newPool(options)', KEYS);
  const { persistent = false, exclusiveGets = false, leaseSeconds = 0 } = options;
  const uuid = options.uuid === undefined ? '' : uuidOf(options.uuid);
  const isForever = leaseSeconds === Number.POSITIVE_INFINITY;
  if (!isForever) checkInteger('leaseSeconds', leaseSeconds, 0, LEASE_FOREVER - 1);
  if (exclusiveGets && !persistent)
    throw new SwapError(
      'ERR_ARG_CONFLICT',
      'exclusiveGets requires persistent: a get of an ephemeral page without a uuid removes it anyway',
    );
  if (leaseSeconds > 0 && (uuid === '' || !persistent))
    throw new SwapError(
      'ERR_ARG_CONFLICT',
      'leaseSeconds requires persistent and a uuid, which identifies the pool after a reconnect',
    );
  const flags =
    (persistent ? PoolFlag.persistent : 0) |
    (exclusiveGets ? PoolFlag.exclusiveGets : 0) |
    (uuid === '' ? 0 : PoolFlag.named);
  return { flags, lease: isForever ? LEASE_FOREVER : leaseSeconds, uuid };
}

/** The error of a refused NEW_POOL. @param value below 0 */
export function poolError(value: number): SwapError {
  const why =
    value === NewPoolError.tooMany
      ? 'this user has 16 pools; destroy one, or wait until the lease of one ends'
      : value === NewPoolError.otherKind
        ? 'the pool with this uuid has other options; open it with the same ones, or choose another uuid'
        : value === NewPoolError.tooManyShared
          ? 'the host has no space for another ephemeral pool with a uuid'
          : `the host refused the pool (${value})`;
  return new SwapError('ERR_IO_NO_ROOM', `no pool: ${why}`, { answer: value });
}
