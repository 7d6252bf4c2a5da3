/** What a connection needs from its server, and what the server knows about an accepted client. */

import type { Turns } from '../../net/turns.ts';
import type { NbdExport, NbdExports } from '../protocol/exports.ts';
import type { HandshakeState } from '../protocol/handshake.ts';
import type { NbdBuffers } from './buffers.ts';
import type { ClientIdentity } from './client-identity.ts';
import type { TlsUpgrade } from './tls-upgrade.ts';
import type { ClientUser } from './visible-exports.ts';

/** The interface of the server for its connections. */
export interface ConnectionOwner<Connection> {
  readonly buffers: NbdBuffers;
  readonly exports: NbdExports;
  /** Null: no TLS. */
  readonly tls: TlsUpgrade | null;
  /** Counters of all sessions. */
  readonly counters: Float64Array;
  /** Why the connection may not open the export now; null: it may. */
  refusalOf(connection: Connection, requested: NbdExport): string | null;
  readonly turns: Turns;
  /** Whether the client has disconnected, for a connection that does not read. */
  hasHungUp(connection: Connection): boolean;
  /** Requests a call of serve() after `waitMs`, or when the export is resumed if that is Infinity. */
  hold(connection: Connection, waitMs: number): void;
  /** The connection keeps the current output, for its disk or for its socket: the server must replace it. */
  outputKept(): void;
  /** The connection keeps an output that the socket has not accepted. */
  stalled(connection: Connection): void;
  /** The connection has returned that output. */
  drained(connection: Connection): void;
  /** `inBytes` were received, `outBytes` sent. */
  moved(inBytes: number, outBytes: number): void;
  /** The connection is encrypted from now on. @param about describes TLS and the client */
  secured(connection: Connection, about: string): void;
  /** Another thread continues: the server calls detach(). */
  handOver(connection: Connection): void;
  /** The connection has opened its export. */
  negotiated(connection: Connection): void;
  /** The connection ended with an error; logs the reason. */
  dropped(connection: Connection, reason: string): void;
}

/** The client of a connection. */
export interface ConnectionClient {
  /** Id of the connection in the thread that accepted it. */
  readonly id: number;
  /** Name of the connection in the log. */
  readonly peer: string;
  readonly identity: ClientIdentity;
  readonly user: ClientUser;
  /** Start of the connection, ms of the server's clock. */
  readonly sinceMs: number;
}

/** The negotiation that another thread has started with a client. */
export interface Begun {
  readonly handshake: HandshakeState;
  /** Whether the connection returns to that thread if it opens no export. */
  readonly isVisiting: boolean;
}
