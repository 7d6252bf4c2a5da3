/**
 * Counts what a client sends through TLS beside data. Each TLS message of its own, such as a key update, costs the server a
 * reply, and OpenSSL keeps the replies that a client does not read. node:tls reports neither these messages nor how many bytes
 * wait, so the received bytes of both sockets are compared.
 *
 * A client that sends NBD requests stays below OVERHEAD_MAX: the smallest one has 28 bytes, and a record adds at most 29.
 */
import type { Socket } from 'node:net';

/** Received bytes per byte of data. */
const OVERHEAD_MAX = 3;
/** Bytes above that ratio that are tolerated. */
const EXCESS_BYTES_MAX = 256 * 1024;

type Received = Pick<Socket, 'bytesRead'>;

export class TlsOverhead {
  readonly #plain: Received;
  readonly #secure: Received;
  #plainBytes: number;
  #dataBytes: number;
  #excessBytes = 0;

  /** The handshake, which is complete, is not counted. */
  constructor(plain: Received, secure: Received) {
    this.#plain = plain;
    this.#secure = secure;
    this.#plainBytes = plain.bytesRead;
    this.#dataBytes = secure.bytesRead;
  }

  /** Called from time to time. Data sent before a call makes up for no message after it. */
  isExcessive(): boolean {
    const [plainBytes, dataBytes] = [this.#plain.bytesRead, this.#secure.bytesRead];
    const added = plainBytes - this.#plainBytes - OVERHEAD_MAX * (dataBytes - this.#dataBytes);
    this.#excessBytes = Math.max(0, this.#excessBytes + added);
    this.#plainBytes = plainBytes;
    this.#dataBytes = dataBytes;
    return this.#excessBytes > EXCESS_BYTES_MAX;
  }
}
