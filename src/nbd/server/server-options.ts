/** The options of an NBD server, and its statistics. */
import type { PeerCredentials } from '../../os/linux/peer-credentials.ts';
import type { NbdExports } from '../protocol/exports.ts';
import type { TlsServerOptions, TlsStats } from './tls-upgrade.ts';
import type { VisitHooks } from './visits.ts';

export interface NbdServerOptions {
  /** The exports; looked up when a client requests one. */
  readonly exports: NbdExports;
  /** Receives a line, without newline, for each connection that is dropped or refused. */
  readonly log: (line: string) => void;
  /** Receives a line for each connection that is accepted, opens an export, or is closed. Default: none. */
  readonly trace?: ((line: string) => void) | null;
  /** Maximum number of connections; more are refused. Default 1024. */
  readonly clientCountMax?: number;
  /** Maximum number of clients with unread replies. Default: 32 MiB of outputs, at least 8. */
  readonly stalledCountMax?: number;
  /** Maximum bytes of replies and data in flight per connection. Default 256 KiB. */
  readonly outputBytes?: number;
  /** Maximum number of requests in progress per connection. Default 512. */
  readonly requestsMax?: number;
  /** Maximum number of connections that negotiate, and maximum number that wait to negotiate. Default 128. */
  readonly negotiatingMax?: number;
  /** Maximum number of connections that start to negotiate per second; 0: any. Default 200. */
  readonly acceptsPerSecond?: number;
  /** A connection that has not opened an export after this time is dropped, ms. Default 10,000. */
  readonly negotiationMs?: number;
  /** How long close() waits for requests in progress, ms. Default 2,000. */
  readonly closeMs?: number;
  /** The peer of a connected Unix socket, by file descriptor; null: unknown. Default: this process, without ids. */
  readonly peer?: (fd: number) => PeerCredentials | null;
  /** Whether the peer of a socket has disconnected, by file descriptor. Default: unknown, false. */
  readonly hasHungUp?: (fd: number) => boolean;
  /** For exports in other threads; null: there are none. */
  readonly visits?: VisitHooks | null;
  /** Duplicates a descriptor for another thread; -1: none is left. */
  readonly duplicate?: ((fd: number) => number) | null;
  /** Default: no TLS. */
  readonly tls?: TlsServerOptions | null;
  /** Monotonic clock, ms. */
  readonly nowMs?: () => number;
  /** False: use 'data' events instead of the shared buffer, as for sockets that do not support it. */
  readonly sharedBuffer?: boolean;
}

/** Statistics since the start. */
export interface NbdStats {
  readonly connectionCount: number;
  readonly connectionsByExport: ReadonlyMap<string, number>;
  readonly accepted: number;
  /** Connections refused because of clientCountMax. */
  readonly refused: number;
  /** Connections that the server ended, or that ended after an error of the client; each is logged. */
  readonly dropped: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** TLS handshakes; null: no TLS. */
  readonly tls: TlsStats | null;
  /** Indexed by Counter of nbd/protocol/state.ts. */
  readonly counters: Float64Array;
}
