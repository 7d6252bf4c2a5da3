/**
 * NBD URIs, as the protocol's URI page defines them and nbdinfo, nbdcopy and qemu-img read them:
 *
 *   nbd://127.0.0.1:10809/swap0
 *   nbd+unix:///swap0?socket=/run/frontswap/nbd.sock
 *   nbds://example.com/swap0, nbds+unix:///swap0?socket=PATH&tls-type=psk     with TLS
 *
 * The export name is the path without its first slash, percent-decoded. In the query `+` is a plus sign (RFC 3986, not HTML
 * forms), so URLSearchParams cannot parse it.
 *
 * Source: github.com/NetworkBlockDevice/nbd doc/uri.md.
 */
import { SwapError } from '../base/errors.ts';

/** The port that IANA assigned to NBD. */
export const NBD_PORT = 10809;

/** Parameters of a connection with TLS. */
export interface UriTls {
  /** Certificates, or a pre-shared key. */
  readonly type: 'x509' | 'psk';
  /** The name in the server's certificate; absent: the host of the address. */
  readonly hostname?: string;
  /** Folder of the client's certificates. */
  readonly certificates?: string;
}

/** `tls` absent: no TLS. */
export type NbdAddress =
  | { readonly kind: 'unix'; readonly path: string; readonly tls?: UriTls }
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      readonly tls?: UriTls;
    };

export interface NbdTarget {
  readonly address: NbdAddress;
  /** Empty: the server's default export. */
  readonly exportName: string;
  /** Disk name without the generation of the export; default: exportName. Names that a guest sees are derived from it. */
  readonly diskName?: string;
}

/** Whether the host is reachable only from this machine. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.[0-9]{1,3}){3}$/.test(host);

const hostInUri = (host: string): string =>
  host.includes(':') ? `[${host.replace('%', '%25')}]` : host;

/** URL of a server of the host. @param path begins with a slash */
export const httpUrl = ({ host, port }: { host: string; port: number }, path: string): string =>
  `http://${hostInUri(host)}:${port}${path}`;

export function formatUri(address: NbdAddress, exportName: string): string {
  const name = encodeURIComponent(exportName).replaceAll('%40', '@'); // RFC 3986 allows @ in a path
  const { tls } = address;
  const scheme = tls === undefined ? 'nbd' : 'nbds';
  const query = tls === undefined ? [] : tlsQuery(tls);
  if (address.kind === 'unix') {
    query.unshift(`socket=${inQuery(address.path)}`);
    return `${scheme}+unix:///${name}?${query.join('&')}`;
  }
  const tail = query.length === 0 ? '' : `?${query.join('&')}`;
  return `${scheme}://${hostInUri(address.host)}:${address.port}/${name}${tail}`;
}

const inQuery = (text: string): string => encodeURIComponent(text).replaceAll('%2F', '/');

/** Certificates are the default. */
function tlsQuery({ type, hostname, certificates }: UriTls): string[] {
  const query = type === 'psk' ? ['tls-type=psk'] : [];
  if (hostname !== undefined) query.push(`tls-hostname=${inQuery(hostname)}`);
  if (certificates !== undefined) query.push(`tls-certificates=${inQuery(certificates)}`);
  return query;
}

function decode(key: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    const message = `${key}: '${text}' is not percent-encoded UTF-8`;
    throw new SwapError('ERR_ARG_VALUE', message, { key, value: text }, { cause });
  }
}

/** Parameters that only the client uses. */
const ignoredOfTls: readonly string[] = ['tls-verify-peer', 'tls-psk-file', 'tls-username'];

interface UriQuery {
  readonly socket: string | null;
  readonly tls: UriTls;
}

/**
 * The parameters of a URI. Unknown parameters are refused unless they are private (`x-`). Parameters of TLS are refused without
 * TLS.
 */
function queryOf(key: string, query: string, isTls: boolean): UriQuery {
  const given = new Map<string, string>();
  const known = ['socket', ...(isTls ? ['tls-type', 'tls-hostname', 'tls-certificates'] : [])];
  for (const part of query.replace(/^\?/, '').split('&')) {
    const [name = '', ...rest] = part.split('=');
    if (known.includes(name)) given.set(name, decode(key, rest.join('=')));
    else if (isTls && ignoredOfTls.includes(name)) continue;
    else if (name !== '' && !name.startsWith('x-'))
      throw new SwapError('ERR_ARG_VALUE', `${key}: unknown parameter '${name}'`, {
        key,
        value: name,
      });
  }
  const type = given.get('tls-type') ?? 'x509';
  if (type !== 'x509' && type !== 'psk')
    throw new SwapError('ERR_ARG_VALUE', `${key}: tls-type '${type}' is neither x509 nor psk`, {
      key,
      value: type,
    });
  const hostname = given.get('tls-hostname');
  const certificates = given.get('tls-certificates');
  return {
    socket: given.get('socket') ?? null,
    tls: {
      type,
      ...(hostname === undefined ? {} : { hostname }),
      ...(certificates === undefined ? {} : { certificates }),
    },
  };
}

/**
 * @param key the option named in errors
 * @throws SwapError ERR_ARG_VALUE
 */
export function parseUri(key: string, text: string): NbdTarget {
  const reject = (why: string): SwapError =>
    new SwapError(
      'ERR_ARG_VALUE',
      `${key}: '${text}' ${why}; write nbd://HOST:PORT/NAME or nbd+unix:///NAME?socket=PATH (with TLS nbds:// or nbds+unix://)`,
      { key, value: text },
    );
  if (!URL.canParse(text)) throw reject('is not a URI');
  const url = new URL(text);
  // Not url.pathname, which resolves '.' and '..', even percent-encoded ones: here they are names.
  const path = /^[^:]*:\/\/[^/?#]*\/?([^?#]*)/.exec(text.trim())?.[1] ?? '';
  const exportName = decode(key, path);
  const [, scheme, isUnix] = /^(nbds?)(\+unix)?:$/.exec(url.protocol) ?? [];
  if (scheme === undefined) throw reject('is not an NBD URI');
  const isTls = scheme === 'nbds';
  const query = queryOf(key, url.search, isTls);
  const tls = isTls ? { tls: query.tls } : {};
  if (isUnix !== undefined) {
    const { socket } = query;
    if (socket === null || socket === '') throw reject('has no socket');
    return { address: { kind: 'unix', path: socket, ...tls }, exportName };
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').replace('%25', '%');
  if (host === '') throw reject('has no host');
  const port = url.port === '' ? NBD_PORT : Number(url.port);
  return { address: { kind: 'tcp', host, port, ...tls }, exportName };
}
