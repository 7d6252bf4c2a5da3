/** Limits of what clients of a host may use: one client must not take the memory or the time of the others. */
import { SwapError } from '../base/errors.ts';
import { formatSize, parseSize } from '../base/size.ts';

export interface ClientLimits {
  /** Connections at a time. */
  readonly maxClients: number;
  /** Requests in progress per connection. */
  readonly maxRequests: number;
  /** Replies and data in memory per connection, bytes. */
  readonly maxOutputBytes: number;
  /** Connections that negotiate at a time. */
  readonly maxHandshakes: number;
  /** New connections per second; 0: any number. */
  readonly acceptRate: number;
  /** Time to open a disk after connecting, seconds. */
  readonly handshakeSeconds: number;
}

const KIB = 1024;
const OUTPUT_BYTES_MIN: number = 128 * KIB;
const OUTPUT_BYTES_MAX: number = 16 * KIB * KIB;

/** @throws SwapError ERR_ARG_VALUE */
export function parseOutputSize(from: string, text: string): number {
  const bytes = parseSize(from, text);
  if (bytes >= OUTPUT_BYTES_MIN && bytes <= OUTPUT_BYTES_MAX) return bytes;
  const range = `from ${formatSize(OUTPUT_BYTES_MIN)} to ${formatSize(OUTPUT_BYTES_MAX)}`;
  throw new SwapError('ERR_ARG_VALUE', `${from}: '${text}' is not a size ${range}`, {
    key: from,
    value: text,
  });
}
