/**
 * The server's side of TLS: turns the socket of a client that sent STARTTLS into an encrypted one with node:tls.
 *
 * A tls.Server that never listens gets each socket as an event 'connection', which Node documents for that purpose, and does
 * the handshake and the verification of the client. Its events contain only the encrypted socket; an undocumented field leads
 * to the plain socket and so to the connection. Without that field every client is refused.
 *
 * Invariants
 * - A socket is passed on only if the handshake is complete and, with verifyPeer, the client's certificate is valid.
 * - After the plain socket was destroyed, the encrypted one is never destroyed: it ends with the plain one. Destroying both in
 *   this order in an event of the handshake crashes Node 20 to 24, because OpenSSL still uses the connection.
 * - No text from this file contains a key, and none contains the name that a client sent without escaping it.
 *
 * Keys of a PSK file are used with TLS 1.2: node:tls has no server callback for pre-shared keys of TLS 1.3.
 *
 * A client chooses among the parameters that the server allows, so none of them may be expensive: key exchange uses only
 * elliptic curves. A handshake with DHE-PSK costs ten times as much.
 */
import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import { printable } from '../../base/printable.ts';
import type { Secret } from '../../base/secret.ts';
import { DEFAULT_LIMITS, type HandshakeLimits, HandshakeQueue } from './handshake-queue.ts';
import { PskKeys } from './psk-keys.ts';

/** Certificates, as text in PEM form. */
export interface X509Credentials {
  readonly kind: 'x509';
  readonly certificate: string;
  readonly key: Secret<string>;
  /** Signs the certificates of clients; null: they are not verified. */
  readonly clientAuthority: string | null;
  /** Lists of revoked certificates, one for each authority; null: none. */
  readonly revoked: readonly string[] | null;
}

/** Pre-shared keys by user name. */
interface PskCredentials {
  readonly kind: 'psk';
  readonly keys: Secret<ReadonlyMap<string, Uint8Array>>;
}

export type TlsCredentials = X509Credentials | PskCredentials;

export interface TlsServerOptions {
  readonly mode: 'on' | 'require';
  readonly credentials: TlsCredentials;
  /** Absent values default to DEFAULT_LIMITS. */
  readonly limits?: Partial<HandshakeLimits>;
  /** A handshake that takes longer fails, ms. Default 5,000. */
  readonly handshakeMs?: number;
}

/** The reasons for failed handshakes that the metrics distinguish. */
export const tlsRefusals = [
  'no_certificate',
  'bad_certificate',
  'wrong_key',
  'not_tls',
  'disconnected',
  'timeout',
  'limit',
  'other',
] as const;
export type TlsRefusal = (typeof tlsRefusals)[number];

export interface TlsStats {
  readonly completed: number;
  readonly refused: Readonly<Record<TlsRefusal, number>>;
}

/** Receives the result of a handshake: exactly one of the two is called. */
export interface UpgradeResult {
  /** @param about version, cipher suite and name of the client, for the trace */
  secured(socket: TLSSocket, about: string): void;
  failed(reason: string): void;
}

/** Ephemeral key exchange and authenticated encryption only. */
const PSK_CIPHERS = 'ECDHE-PSK-CHACHA20-POLY1305';
const X509_CIPHERS = [
  ...['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256'],
  ...['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384'],
  ...['ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
  ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256'],
  '@SECLEVEL=2', // at least 112 bits: no RSA below 2048 bits, no SHA-1
].join(':');
const CURVES = 'X25519:P-256:P-384';
const HANDSHAKE_MS = 5000;
/**
 * Bytes that a handshake may receive for one token, and bytes for each further token. Certificates chosen by an attacker take 1
 * ms of the thread per KiB; ordinary certificates have 1 to 3 KiB.
 */
const FREE_BYTES = 4096;
const TOKEN_BYTES = 1024;

interface Reason {
  readonly kind: TlsRefusal;
  readonly text: string;
}

const DISCONNECTED: Reason = { kind: 'disconnected', text: 'the client disconnected' };
const reasons: Readonly<Record<string, Reason>> = {
  ECONNRESET: DISCONNECTED,
  EPIPE: DISCONNECTED,
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: {
    kind: 'no_certificate',
    text: 'the client sent no certificate',
  },
  ERR_SSL_WRONG_VERSION_NUMBER: { kind: 'not_tls', text: 'the client did not start TLS' },
  ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: {
    kind: 'wrong_key',
    text: 'wrong key, or unknown user name',
  },
  ERR_TLS_HANDSHAKE_TIMEOUT: { kind: 'timeout', text: 'it took too long' },
};

function reasonOf(error: NodeJS.ErrnoException, socket: TLSSocket): Reason {
  const refused = socket.authorizationError as Error | string | null | undefined;
  if (refused !== null && refused !== undefined)
    return {
      kind: 'bad_certificate',
      text: `client certificate refused: ${printable(String(refused))}`,
    };
  const code = error.code ?? 'unknown error';
  return reasons[code] ?? { kind: 'other', text: printable(code) };
}

/** Options that hold for both kinds of credentials. */
const common: TlsOptions = {
  minVersion: 'TLSv1.2',
  ecdhCurve: CURVES,
  // With a ticket, a client could connect again after its key or certificate was withdrawn.
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_TICKET,
};

function x509Options(x509: X509Credentials): TlsOptions {
  const verify = x509.clientAuthority !== null;
  return {
    ...common,
    cert: x509.certificate,
    key: x509.key.reveal(),
    ciphers: X509_CIPHERS,
    requestCert: verify,
    rejectUnauthorized: verify,
    ...(x509.clientAuthority === null ? {} : { ca: x509.clientAuthority }),
    ...(verify && x509.revoked !== null ? { crl: [...x509.revoked] } : {}),
  };
}

/** A handshake that waits or is in progress. */
interface Pending {
  readonly origin: string;
  /** Bytes received before it started. */
  readonly plainBytes: number;
  readonly result: UpgradeResult;
}

export class TlsUpgrade {
  readonly mode: 'on' | 'require';
  readonly #server: Server;
  readonly #queue: HandshakeQueue<Socket>;
  readonly #pending = new Map<Socket, Pending>();
  /** User names of clients with a pre-shared key. */
  readonly #names = new WeakMap<Socket, string>();
  readonly #refused = Object.fromEntries(tlsRefusals.map((kind) => [kind, 0])) as Record<
    TlsRefusal,
    number
  >;
  /** Clients send certificates. */
  readonly #verifies: boolean;
  #completed = 0;
  #keys: PskKeys | null = null;

  /** @throws an error of node:tls if certificate and key are not usable */
  constructor(options: TlsServerOptions) {
    const { mode, credentials, limits, handshakeMs = HANDSHAKE_MS } = options;
    this.mode = mode;
    this.#verifies = credentials.kind === 'x509' && credentials.clientAuthority !== null;
    this.#server = createServer({
      ...this.#optionsOf(credentials),
      handshakeTimeout: handshakeMs,
    });
    this.#server.on('secureConnection', (socket) => this.#secured(socket));
    this.#server.on('tlsClientError', (error, socket) => {
      const plain = plainOf(socket);
      if (plain !== undefined) this.#fail(plain, reasonOf(error, socket));
    });
    this.#queue = new HandshakeQueue(
      { ...DEFAULT_LIMITS, ...limits },
      {
        start: (plain) => {
          if (!plain.destroyed) this.#server.emit('connection', plain);
        },
        evict: (plain) =>
          this.#fail(plain, { kind: 'limit', text: 'too many handshakes at a time' }),
        nowMs: () => performance.now(),
      },
    );
  }

  get stats(): TlsStats {
    return { completed: this.#completed, refused: { ...this.#refused } };
  }

  /**
   * Starts the handshake when its turn comes. The caller destroys `plain` if it fails.
   * @param origin clients of the same origin share the limits of handshakes
   */
  start(plain: Socket, origin: string, result: UpgradeResult): void {
    this.#pending.set(plain, { origin, plainBytes: plain.bytesRead, result });
    // node:tls reports why it destroyed the socket only after the socket has closed.
    plain.once('close', () => {
      this.#queue.leave(origin, plain);
      setImmediate(() => this.#fail(plain, DISCONNECTED));
    });
    this.#queue.enter(origin, plain);
  }

  /**
   * From now on, uses other credentials of the same kind for new handshakes. Open connections stay.
   * @throws an error of node:tls if certificate and key are not usable; the previous ones stay in use
   */
  reload(credentials: TlsCredentials): void {
    const options = this.#optionsOf(credentials);
    this.#server.setSecureContext(options);
  }

  #secured(socket: TLSSocket): void {
    const plain = plainOf(socket);
    const pending = plain === undefined ? undefined : this.#take(plain);
    if (pending === undefined) {
      if (plain?.destroyed !== true) socket.destroy();
      return;
    }
    this.#completed++;
    pending.result.secured(socket, this.#describe(socket));
  }

  #fail(plain: Socket, { kind, text }: Reason): void {
    const pending = this.#take(plain);
    if (pending === undefined) return;
    this.#refused[kind]++;
    pending.result.failed(text);
  }

  /** Ends the wait for a handshake. */
  #take(plain: Socket): Pending | undefined {
    const pending = this.#pending.get(plain);
    if (pending === undefined) return undefined;
    this.#pending.delete(plain);
    const received = plain.bytesRead - pending.plainBytes;
    if (this.#verifies) this.#queue.charge(pending.origin, (received - FREE_BYTES) / TOKEN_BYTES);
    this.#queue.leave(pending.origin, plain);
    return pending;
  }

  #optionsOf(credentials: TlsCredentials): TlsOptions {
    if (credentials.kind === 'x509') return x509Options(credentials);
    this.#keys = new PskKeys(credentials.keys);
    return {
      ...common,
      maxVersion: 'TLSv1.2',
      ciphers: PSK_CIPHERS,
      pskCallback: (socket: TLSSocket, name: string) => {
        this.#names.set(socket, name);
        return this.#keys?.find(name) ?? null;
      },
    } as TlsOptions;
  }

  #describe(socket: TLSSocket): string {
    const { name: cipher } = socket.getCipher();
    const parts = [socket.getProtocol() ?? 'TLS', cipher];
    const user = this.#names.get(socket);
    if (user !== undefined) parts.push(`user ${printable(user)}`);
    else if (socket.authorized) {
      const { CN } = socket.getPeerCertificate().subject as { readonly CN?: unknown };
      parts.push(
        CN === undefined ? 'certificate without a name' : `certificate of ${printable(String(CN))}`,
      );
    }
    return parts.join(', ');
  }
}

/** The plain socket under an encrypted one. */
function plainOf(socket: TLSSocket): Socket | undefined {
  return (socket as unknown as { readonly _parent?: Socket })._parent;
}
