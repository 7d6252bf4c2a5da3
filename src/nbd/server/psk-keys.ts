/**
 * Pre-shared keys, looked up by the user name that a client sends.
 *
 * Names are kept as HMACs with a random key of this process, so the time of a lookup reveals nothing about the names: a client
 * cannot choose two names with HMACs that have a common prefix. An unknown name gets a key that no client knows, and then fails
 * like a known name with a wrong key.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { Secret } from '../../base/secret.ts';

const HMAC_BYTES = 32;

export class PskKeys {
  readonly #hmacKey = randomBytes(HMAC_BYTES);
  readonly #keys: ReadonlyMap<string, Uint8Array>;

  constructor(keys: Secret<ReadonlyMap<string, Uint8Array>>) {
    this.#keys = new Map([...keys.reveal()].map(([name, key]) => [this.#of(name), key]));
  }

  /** The key of the name, or a key that no client has. */
  find(name: string): Uint8Array {
    const unknown = createHmac('sha256', this.#hmacKey).update('unknown\0').update(name).digest();
    return this.#keys.get(this.#of(name)) ?? unknown;
  }

  #of(name: string): string {
    return createHmac('sha256', this.#hmacKey).update(name).digest('hex');
  }
}
