/**
 * NBD URIs, as the protocol's URI page defines them and nbdinfo, nbdcopy and qemu-img read them:
 *
 *   nbd://127.0.0.1:10809/swap0
 *   nbd+unix:///swap0?socket=/run/frontswap/nbd.sock
 *
 * The export name is the path without its first slash, percent-decoded. In the query `+` is a plus sign (RFC 3986, not HTML
 * forms), so URLSearchParams cannot parse it.
 *
 * Source: github.com/NetworkBlockDevice/nbd doc/uri.md.
 */
import { SwapError } from '../base/errors.ts';

/** The port that IANA assigned to NBD. */
export const NBD_PORT = 10809;

export type NbdAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export interface NbdTarget {
  readonly address: NbdAddress;
  /** Empty: the server's default export. */
  readonly exportName: string;
  /** Disk name, without the generation of the export; default: exportName. Names that a guest sees derive from it. */
  readonly diskName?: string;
}

/** Whether the host is reachable only from this machine. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.[0-9]{1,3}){3}$/.test(host);

const hostInUri = (host: string): string =>
  host.includes(':') ? `[${host.replace('%', '%25')}]` : host;

export function formatUri(address: NbdAddress, exportName: string): string {
  const name = encodeURIComponent(exportName).replaceAll('%40', '@'); // RFC 3986 allows @ in a path
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

/** The value of `socket=`, or null. Other parameters are refused unless they are private (`x-`). */
function socketOf(key: string, query: string): string | null {
  let socket: string | null = null;
  for (const part of query.replace(/^\?/, '').split('&')) {
    const [name = '', ...rest] = part.split('=');
    if (name === 'socket') socket = decode(key, rest.join('='));
    else if (name !== '' && !name.startsWith('x-'))
      throw new SwapError('ERR_ARG_VALUE', `${key}: unknown parameter '${name}'`, {
        key,
        value: name,
      });
  }
  return socket;
}

/**
 * @param key the option named in errors
 * @throws SwapError ERR_ARG_VALUE
 */
export function parseUri(key: string, text: string): NbdTarget {
  const reject = (why: string): SwapError =>
    new SwapError(
      'ERR_ARG_VALUE',
      `${key}: '${text}' ${why}; write nbd://HOST:PORT/NAME or nbd+unix:///NAME?socket=PATH`,
      { key, value: text },
    );
  if (!URL.canParse(text)) throw reject('is not a URI');
  const url = new URL(text);
  // Not url.pathname, which resolves '.' and '..' also when percent-encoded: here they are names.
  const path = /^[^:]*:\/\/[^/?#]*\/?([^?#]*)/.exec(text.trim())?.[1] ?? '';
  const exportName = decode(key, path);
  if (url.protocol === 'nbd+unix:') {
    const socket = socketOf(key, url.search);
    if (socket === null || socket === '') throw reject('has no socket');
    return { address: { kind: 'unix', path: socket }, exportName };
  }
  if (url.protocol === 'nbd:') {
    socketOf(key, url.search);
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1').replace('%25', '%');
    if (host === '') throw reject('has no host');
    const port = url.port === '' ? NBD_PORT : Number(url.port);
    return { address: { kind: 'tcp', host, port }, exportName };
  }
  if (/^nbds(\+unix)?:$/.test(url.protocol)) throw reject('requires TLS, which is not supported');
  throw reject('is not an NBD URI');
}
