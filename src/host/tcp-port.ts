/** The TCP port of a host: the configured one, or without one the first free port from NBD's default on. */

import { errnoOf, tcpListenError } from '../os/system-error.ts';
import type { TcpConfig } from './config.ts';

/** Ports that are tried. */
const PORTS_MAX = 64;

/**
 * Calls `listen` with one port after the other until one is not in use.
 * @returns what it answers; throws SwapError ERR_IO_IN_USE, ERR_IO_SYSTEM
 */
export async function firstPort<T>(
  { host, port, orNext }: TcpConfig,
  listen: (port: number) => Promise<T>,
): Promise<T> {
  for (let at = port; ; at++) {
    try {
      return await listen(at);
    } catch (cause) {
      const goesOn = orNext && errnoOf(cause) === 'EADDRINUSE' && at + 1 < port + PORTS_MAX;
      if (!goesOn) throw tcpListenError(host, at, cause);
    }
  }
}
