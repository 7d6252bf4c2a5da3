/** Errors of a client's socket: whether they mean a disconnect, and their text in the log. */

/** Whether a socket error means that the peer disconnected. */
export const isDisconnect = ({ code }: NodeJS.ErrnoException): boolean =>
  code === 'ECONNRESET' || code === 'EPIPE';

/** The error in one line: the messages of OpenSSL contain an address and a line break. */
export function errorText({ code = '', message }: NodeJS.ErrnoException): string {
  return code.startsWith('ERR_SSL_') ? `TLS error: ${code}` : `socket error: ${message}`;
}
