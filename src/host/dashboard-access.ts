/**
 * Which requests of browsers a dashboard answers. A browser sends the requests of every open page, to servers of this machine,
 * too. So an address that only this machine can reach is no protection.
 *
 *   attack                                        prevented by
 *   a name that the attacker points to 127.0.0.1  the Host header must be a loopback address (DNS rebinding)
 *   a request from another site's page            Origin must be this server, Sec-Fetch-Site must be its own page
 *   another user of this machine                  changes need the token
 *
 * A browser can reach the control socket through a forwarded port (`ssh -L 9180:/run/frontswap/control.sock`), so requests
 * there are checked in the same way. The control socket also allows a Host without a dot, as in `http://host/v1/disks`.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isLoopback } from './uri.ts';

/** The host of a Host header, without its port; null: not valid. */
function hostOf(header: string): string | null {
  const [, six, name] = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d{1,5})?$/i.exec(header) ?? [];
  return six ?? name?.toLowerCase() ?? null;
}

/** Why a request with these headers is refused; null: it is allowed. */
export function whyForeign(
  headers: IncomingHttpHeaders,
  allowed: { readonly isPage: boolean; readonly isSocket: boolean },
): string | null {
  const header = headers.host ?? '';
  const host = hostOf(header);
  const isOwn = host !== null && isLoopback(host);
  const isLabel = allowed.isSocket && (header === '' || (host !== null && /^[\w-]+$/.test(host)));
  if (!isOwn && !isLabel)
    return `the Host header is '${header}': open the page by 127.0.0.1, [::1] or localhost`;
  const { origin } = headers;
  if (origin !== undefined && origin !== `http://${header}`)
    return `the request is from a page of '${origin}'`;
  const site = headers['sec-fetch-site'];
  // A link on another site may open the page; everything that the page then loads has the same origin.
  const isLink = allowed.isPage && headers['sec-fetch-mode'] === 'navigate';
  if (site !== undefined && site !== 'same-origin' && site !== 'none' && !isLink)
    return 'the request is from a page of another site';
  return null;
}

const TOKEN_BYTES = 32;

/** A secret that is created at the start and kept only in memory. */
export class DashboardToken {
  readonly text: string = randomBytes(TOKEN_BYTES).toString('base64url');
  readonly #digest: Buffer = digestOf(this.text);

  /**
   * Who sent a request. The time of the comparison does not depend on the token.
   * @param authorization the header; absent: a reader
   */
  accessOf(authorization: string | undefined): 'reader' | 'writer' | 'refused' {
    if (authorization === undefined) return 'reader';
    const [, given] = /^Bearer +(\S+) *$/i.exec(authorization) ?? [];
    if (given === undefined) return 'refused';
    return timingSafeEqual(digestOf(given), this.#digest) ? 'writer' : 'refused';
  }
}

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();
