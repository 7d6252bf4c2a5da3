/**
 * Chooses the connection to end at the limit of connections: among connections without an open export, the oldest one of the
 * origin with the most. So a client that connects repeatedly ends its own connections, not those of others.
 */
import type { ClientIdentity } from './client-identity.ts';
import type { NbdConnection } from './connection.ts';

interface Negotiation extends Pick<NbdConnection, 'isNegotiated' | 'isClosing'> {
  readonly identity: Pick<ClientIdentity, 'origin'>;
}

/** @param connections in the order of their start */
export function oldestNegotiation<T extends Negotiation>(connections: Iterable<T>): T | null {
  const oldest = new Map<string, { readonly first: T; count: number }>();
  for (const connection of connections) {
    if (connection.isNegotiated || connection.isClosing) continue;
    const { origin } = connection.identity;
    const entry = oldest.get(origin);
    if (entry === undefined) oldest.set(origin, { first: connection, count: 1 });
    else entry.count++;
  }
  let most: { readonly first: T; count: number } | null = null;
  for (const entry of oldest.values()) if (most === null || entry.count > most.count) most = entry;
  return most?.first ?? null;
}
