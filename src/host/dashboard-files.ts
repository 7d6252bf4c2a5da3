/** The files of the dashboard's page, read from the package, and the headers of their replies. */
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';

interface PageFile {
  readonly type: string;
  readonly url: URL;
  bytes?: Buffer;
}

const files: ReadonlyMap<string, PageFile> = new Map([
  ['/', { type: 'text/html', url: new URL('../page/index.html', import.meta.url) }],
  ['/page.js', { type: 'text/javascript', url: new URL('../page/page.js', import.meta.url) }],
  ['/page.css', { type: 'text/css', url: new URL('../page/page.css', import.meta.url) }],
  ['/icon.svg', { type: 'image/svg+xml', url: new URL('../page/icon.svg', import.meta.url) }],
]);

export const isPageFile = (path: string): boolean => files.has(path);
export const pagePaths: readonly string[] = [...files.keys()];

/** The page loads nothing from other servers and runs only the code of its own file; text never becomes markup. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

/** Headers of every reply to a browser. */
export function setSecurityHeaders(response: ServerResponse): void {
  response.setHeader('content-security-policy', policy);
  response.setHeader('x-frame-options', 'DENY');
  response.setHeader('x-content-type-options', 'nosniff');
  response.setHeader('referrer-policy', 'no-referrer');
  response.setHeader('cross-origin-opener-policy', 'same-origin');
  response.setHeader('cross-origin-resource-policy', 'same-origin');
  response.setHeader('cache-control', 'no-store');
}

/** Read once: a host that serves swap must not wait for a disk, and unsent replies share the bytes. */
function bytesOf(path: string): Buffer {
  const file = files.get(path)!;
  file.bytes ??= readFileSync(file.url);
  return file.bytes;
}

/** Reads all files now. Otherwise each file is read at its first request. */
export function loadPageFiles(): void {
  for (const path of files.keys()) bytesOf(path);
}

/** Sends a file of the page to a GET or HEAD. */
export function sendPageFile(
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { type } = files.get(path)!;
  const bytes = bytesOf(path);
  response.setHeader('content-type', `${type}; charset=utf-8`);
  response.setHeader('content-length', bytes.length);
  response.end(request.method === 'HEAD' ? undefined : bytes);
}
