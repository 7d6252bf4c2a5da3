/** Errors of a client's socket: whether they end it, and how the log names them. */

/** Whether a socket error means that the peer disconnected. */
export const isDisconnect = ({ code }: NodeJS.ErrnoException): boolean =>
  code === 'ECONNRESET' || code === 'EPIPE';

/** One line. The messages of OpenSSL contain an address and a line break. */
export function errorText({ code = '', message }: NodeJS.ErrnoException): string {
  return code.startsWith('ERR_SSL_') ? `TLS error: ${code}` : `socket error: ${message}`;
}
