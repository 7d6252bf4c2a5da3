/** What a connection needs of its server, and what the server knows of a client that it accepts. */

import type { Turns } from '../../net/turns.ts';
import type { NbdExport, NbdExports } from '../protocol/exports.ts';
import type { HandshakeState } from '../protocol/handshake.ts';
import type { NbdBuffers } from './buffers.ts';
import type { ClientIdentity } from './client-identity.ts';
import type { TlsUpgrade } from './tls-upgrade.ts';
import type { ClientUser } from './visible-exports.ts';

/** The server, as its connections see it. */
export interface ConnectionOwner<Connection> {
  readonly buffers: NbdBuffers;
  readonly exports: NbdExports;
  /** Null: no TLS. */
  readonly tls: TlsUpgrade | null;
  /** Counters of all sessions. */
  readonly counters: Float64Array;
  /** The reason why the connection may not open the export now; null: it may. */
  refusalOf(connection: Connection, requested: NbdExport): string | null;
  readonly turns: Turns;
  /** Whether the client of a connection that does not read has disconnected. */
  hasHungUp(connection: Connection): boolean;
  /** Requests a call of serve() in `waitMs`, or, if that is Infinity, when the export is resumed. */
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
  /** Another thread continues: calls detach(). */
  handOver(connection: Connection): void;
  /** The connection has opened its export. */
  negotiated(connection: Connection): void;
  /** The connection ended with an error; logs the reason. */
  dropped(connection: Connection, reason: string): void;
}

/** The client of a connection. */
export interface ConnectionClient {
  /** Of the connection, in the thread that accepted it. */
  readonly id: number;
  /** Name of the connection in the log. */
  readonly peer: string;
  readonly identity: ClientIdentity;
  readonly user: ClientUser;
  /** Start of the connection, ms of the server's clock. */
  readonly sinceMs: number;
}

/** What another thread has negotiated with a client. */
export interface Begun {
  readonly handshake: HandshakeState;
  /** That thread gets the connection back if it opens no export. */
  readonly isVisiting: boolean;
}
