/** The buffers of an NBD server (net/buffers.ts): outputs with rows and bios. */
import { SocketBuffers } from '../../net/buffers.ts';
import { type BioPools, Output, ROWS_MAX } from '../protocol/output.ts';
import { CARRY_BYTES_MAX } from '../protocol/session.ts';

/** Default maximum of the bytes of replies per write. */
export const OUTPUT_BYTES_DEFAULT = 262144;
/** Reason to drop a client if its replies stay in the socket. */
export const DOES_NOT_READ = 'client does not read its replies';
/** Position of received bytes in the input. */
export const LEAD_BYTES: number = CARRY_BYTES_MAX;

export interface OutputLimits {
  /** Bytes of replies and data. Default OUTPUT_BYTES_DEFAULT. */
  readonly bytes?: number;
  /** Requests in progress. Default ROWS_MAX. */
  readonly requestsMax?: number;
}

export type NbdBuffers = SocketBuffers<Output>;

export function nbdBuffers(pools: BioPools, limits: OutputLimits = {}): NbdBuffers {
  const { bytes = OUTPUT_BYTES_DEFAULT, requestsMax = ROWS_MAX } = limits;
  return new SocketBuffers(
    LEAD_BYTES,
    () => new Output(Buffer.allocUnsafeSlow(bytes), pools, requestsMax),
  );
}
