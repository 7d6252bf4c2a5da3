/**
 * NBD URIs, as the protocol's URI page defines them and nbdinfo, nbdcopy and qemu-img read them:
 *
 *   nbd://127.0.0.1:10809/swap0
 *   nbd+unix:///swap0?socket=/run/frontswap/nbd.sock
 *
 * The export name is the path without its first slash, percent-decoded. In the query a plus is a plus
 * (RFC 3986, not HTML forms), so it is taken apart here and not by URLSearchParams.
 *
 * Source: github.com/NetworkBlockDevice/nbd doc/uri.md.
 */
import { SwapError } from '../base/errors.ts';

/** The port that IANA gave to NBD. */
export const NBD_PORT = 10809;

export type NbdAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export interface NbdTarget {
  readonly address: NbdAddress;
  /** May be empty: the server's default export. */
  readonly exportName: string;
  /** Disk name, without the generation of the export; default: exportName. Names that a guest sees derive from it. */
  readonly diskName?: string;
}

/** Whether only this machine reaches that host. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.[0-9]{1,3}){3}$/.test(host);

const hostInUri = (host: string): string =>
  host.includes(':') ? `[${host.replace('%', '%25')}]` : host;

export function formatUri(address: NbdAddress, exportName: string): string {
  const name = encodeURIComponent(exportName).replaceAll('%40', '@'); // RFC 3986: a path may have it
  if (address.kind === 'unix') {
    const socket = encodeURIComponent(address.path).replaceAll('%2F', '/');
    return `nbd+unix:///${name}?socket=${socket}`;
  }
  return `nbd://${hostInUri(address.host)}:${address.port}/${name}`;
}

function decode(key: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    const message = `${key}: '${text}' is not percent-encoded UTF-8`;
    throw new SwapError('ERR_ARG_VALUE', message, { key, value: text }, { cause });
  }
}

/** The value of `socket=`, or null; any other parameter is refused unless it is private (`x-`). */
function socketOf(key: string, query: string): string | null {
  let socket: string | null = null;
  for (const part of query.replace(/^\?/, '').split('&')) {
    const [name = '', ...rest] = part.split('=');
    if (name === 'socket') socket = decode(key, rest.join('='));
    else if (name !== '' && !name.startsWith('x-'))
      throw new SwapError('ERR_ARG_VALUE', `${key}: parameter '${name}' is not known here`, {
        key,
        value: name,
      });
  }
  return socket;
}

/**
 * @param key the option that is named in an error
 * @throws SwapError ERR_ARG_VALUE
 */
export function parseUri(key: string, text: string): NbdTarget {
  const reject = (why: string): SwapError =>
    new SwapError(
      'ERR_ARG_VALUE',
      `${key}: '${text}' ${why}; write nbd://HOST:PORT/NAME or nbd+unix:///NAME?socket=PATH`,
      { key, value: text },
    );
  if (!URL.canParse(text)) throw reject('is no URI');
  const url = new URL(text);
  // Not url.pathname, which takes '.' and '..' for folders, however they are written: here they are names.
  const path = /^[^:]*:\/\/[^/?#]*\/?([^?#]*)/.exec(text.trim())?.[1] ?? '';
  const exportName = decode(key, path);
  if (url.protocol === 'nbd+unix:') {
    const socket = socketOf(key, url.search);
    if (socket === null || socket === '') throw reject('names no socket');
    return { address: { kind: 'unix', path: socket }, exportName };
  }
  if (url.protocol === 'nbd:') {
    socketOf(key, url.search);
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1').replace('%25', '%');
    if (host === '') throw reject('names no host');
    const port = url.port === '' ? NBD_PORT : Number(url.port);
    return { address: { kind: 'tcp', host, port }, exportName };
  }
  if (/^nbds(\+unix)?:$/.test(url.protocol)) throw reject('asks for TLS, which is not served');
  throw reject('is no NBD URI');
}
