/**
 * Connections that another thread serves: the data that moves with a connection, and the data that the thread with the
 * listeners keeps.
 *
 *   thread of the listeners                          thread of a disk
 *   negotiation ── GO, EXPORT_NAME: HandedOver ──▶  processes the option ─▶ opened ─▶ transmission ─▶ closed
 *        ▲                                                └ refused: HandedOver back
 *
 * The thread that owns a disk processes the option that opens its export. So one thread handles the clients of a disk, the
 * check for one client at a time, and the requests of disconnected clients.
 *
 * Invariant: a connection is in only one thread at a time. Its descriptor is a duplicate that belongs first to the message,
 * then to the receiver.
 */
import type { HandshakeState } from '../protocol/handshake.ts';
import { type IdentityValue, identityOf } from './client-identity.ts';
import type { ConnectionClient } from './connection-owner.ts';
import type { ClientUser } from './visible-exports.ts';

/** A connection on its way between two threads, as a value. */
export interface HandedOver {
  /** Id of the connection in the thread with the listeners. */
  readonly id: number;
  readonly fd: number;
  readonly peer: string;
  readonly identity: IdentityValue;
  readonly user: ClientUser;
  /** Time since its start, ms: clocks differ between threads. */
  readonly ageMs: number;
  readonly handshake: HandshakeState;
  /** Received, unprocessed bytes. */
  readonly input: Uint8Array;
  /** Maximum connections to one export. */
  readonly connectionsMax: number;
}

/** Called when connections move between threads. */
export interface VisitHooks {
  /** @param exportName the export that the client requests; null: the thread with the listeners continues the negotiation */
  handOver(connection: HandedOver, exportName: string | null): void;
  /** A connection of another thread has opened an export here. */
  opened(id: number, exportName: string): void;
  closed(id: number): void;
}

/** @param nowMs clock of the receiver */
export const clientOf = (handed: HandedOver, nowMs: number): ConnectionClient => ({
  id: handed.id,
  peer: handed.peer,
  user: handed.user,
  identity: identityOf(handed.identity),
  sinceMs: nowMs - handed.ageMs,
});

/** The connections that are in other threads. */
export class AwayConnections {
  /** By id: the open export, or null while the option is processed. */
  readonly #exports = new Map<number, string | null>();
  readonly #byExport = new Map<string, number>();

  get count(): number {
    return this.#exports.size;
  }

  get byExport(): ReadonlyMap<string, number> {
    return this.#byExport;
  }

  left(id: number): void {
    this.#exports.set(id, null);
  }

  /** Returns false for a connection that is not here. */
  opened(id: number, exportName: string): boolean {
    if (!this.#exports.has(id)) return false;
    this.#exports.set(id, exportName);
    this.#byExport.set(exportName, (this.#byExport.get(exportName) ?? 0) + 1);
    return true;
  }

  /** Call when the connection has ended or returned. Returns whether it was still negotiating. */
  ended(id: number): boolean {
    const exportName = this.#exports.get(id);
    this.#exports.delete(id);
    if (exportName === null || exportName === undefined) return exportName === null;
    const left = (this.#byExport.get(exportName) ?? 1) - 1;
    if (left > 0) this.#byExport.set(exportName, left);
    else this.#byExport.delete(exportName);
    return false;
  }
}
