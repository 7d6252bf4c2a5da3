/** The TCP port of a host: the configured port, or else the first free port starting at NBD's default. */

import { errnoOf, tcpListenError } from '../os/system-error.ts';
import type { TcpConfig } from './config/host-config.ts';

/** Maximum number of ports to try. */
const PORTS_MAX = 64;

/**
 * Calls `listen` with increasing ports until one is not in use.
 * @returns the result of `listen`; throws SwapError ERR_IO_IN_USE, ERR_IO_SYSTEM
 */
export async function firstPort<T>(
  { host, port, orNext }: TcpConfig,
  listen: (port: number) => Promise<T>,
): Promise<T> {
  for (let at = port; ; at++) {
    try {
      return await listen(at);
    } catch (cause) {
      const hasNext = orNext && errnoOf(cause) === 'EADDRINUSE' && at + 1 < port + PORTS_MAX;
      if (!hasNext) throw tcpListenError(host, at, cause);
    }
  }
}
