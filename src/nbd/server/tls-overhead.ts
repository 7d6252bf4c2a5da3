/**
 * Counts what a client sends through TLS in addition to data. Each TLS message without data, such as a key update, costs the
 * server a reply, and OpenSSL keeps the replies that a client does not read. node:tls reports neither these messages nor how
 * many bytes wait, so this class compares the received bytes of both sockets.
 *
 * A client that sends NBD requests stays below OVERHEAD_MAX: the smallest one has 28 bytes, and a record adds at most 29.
 */
import type { Socket } from 'node:net';

/** Maximum received bytes per byte of data. */
const OVERHEAD_MAX = 3;
/** Bytes tolerated above that ratio. */
const EXCESS_BYTES_MAX = 256 * 1024;

type Received = Pick<Socket, 'bytesRead'>;

export class TlsOverhead {
  readonly #plain: Received;
  readonly #secure: Received;
  #plainBytes: number;
  #dataBytes: number;
  #excessBytes = 0;

  /** The completed handshake is not counted. */
  constructor(plain: Received, secure: Received) {
    this.#plain = plain;
    this.#secure = secure;
    this.#plainBytes = plain.bytesRead;
    this.#dataBytes = secure.bytesRead;
  }

  /** Called periodically. Data received before a call does not offset messages after it. */
  isExcessive(): boolean {
    const [plainBytes, dataBytes] = [this.#plain.bytesRead, this.#secure.bytesRead];
    const added = plainBytes - this.#plainBytes - OVERHEAD_MAX * (dataBytes - this.#dataBytes);
    this.#excessBytes = Math.max(0, this.#excessBytes + added);
    this.#plainBytes = plainBytes;
    this.#dataBytes = dataBytes;
    return this.#excessBytes > EXCESS_BYTES_MAX;
  }
}
