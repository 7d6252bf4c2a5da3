/**
 * The tier below compressed RAM: a pool of a host, through its tmem socket. The swap destroys the pool when it ends. If the
 * process is killed, the pages are dropped a minute later: the pool has a random name and a lease, and within the lease the
 * process can reconnect after it has lost the connection.
 */
import { randomBytes } from 'node:crypto';
import { SwapError } from '../base/errors.ts';
import { TmemFrontswap } from '../frontswap/backends/tmem-frontswap.ts';
import { streamSockets } from '../os/linux/stream-socket.ts';
import { BlockingPool } from '../tmem/protocol/blocking.ts';

/** A fault waits at most this long for the host; then its page is reported as lost. */
const DEADLINE_MS = 2000;
const LEASE_SECONDS = 60;

export interface TmemTier extends Disposable {
  readonly backend: TmemFrontswap;
}

/** @throws SwapError ERR_IO_NOT_REACHABLE, ERR_IO_NO_ROOM, ERR_PEER_PROTOCOL, ERR_IO_UNSUPPORTED */
export function openTmemTier(path: string): TmemTier {
  const open = streamSockets(process.platform);
  if (open === null)
    throw new SwapError('ERR_IO_UNSUPPORTED', 'a tmem socket requires 64-bit Linux', {
      reason: 'no blocking sockets',
    });
  const pool = new BlockingPool({
    open: (memory, timeoutMs) => open({ path }, memory, timeoutMs),
    clock: { nowNs: () => performance.now() * 1e6 },
    uuid: randomBytes(16).toString('hex'),
    leaseSeconds: LEASE_SECONDS,
    deadlineMs: DEADLINE_MS,
  });
  try {
    pool.start();
  } catch (error) {
    pool[Symbol.dispose]();
    throw error;
  }
  return { backend: new TmemFrontswap(pool), [Symbol.dispose]: () => void pool.destroy() };
}
