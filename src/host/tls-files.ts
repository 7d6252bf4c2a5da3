/**
 * Reads the files of TLS: certificates with the names that nbdkit uses, or pre-shared keys.
 *
 *   ca-cert.pem       signs the certificates of clients; required to verify them
 *   server-cert.pem   the server's certificate, followed by intermediate ones
 *   server-key.pem    its private key
 *   ca-crl.pem        optional: revoked certificates of clients
 *
 *   FILE of --tls-psk: lines USERNAME:HEXKEY, as of psktool(1); empty lines and lines that start with # are ignored
 *
 * Invariants
 * - A file is used only if it belongs to this user or root, and no other user can write it: a user who can write ca-cert.pem
 *   decides which clients are accepted. The same holds for the folder of certificates, where files could be replaced.
 * - A file with a secret is used only if, in addition, other users cannot read it.
 * - Both are checked on the open file, not on its path, so a symbolic link is as safe as its target.
 * - No error contains a part of a secret: neither a line of a key file nor a message of the parser.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { SwapError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { Secret } from '../base/secret.ts';
import type { TlsCredentials, TlsServerOptions } from '../nbd/server/tls-upgrade.ts';
import { errnoOf, systemError } from '../os/system-error.ts';
import type { Log } from './parts.ts';
import type { TlsConfig } from './tls-config.ts';

const FILE_BYTES_MAX = 1 << 20;
/** Length of a pre-shared key, bytes. psktool(1) makes keys of 32. */
const KEY_BYTES_MIN = 16;
const KEY_BYTES_MAX = 64;
/** RFC 4279: implementations must support names of 128 bytes. */
const NAME_BYTES_MAX = 128;

interface ReadOptions {
  /** User id of this process. */
  readonly uid: number;
  readonly isSecret: boolean;
}

/** Why a file or folder must not be used; '' if it may. */
export function fileFlaw({ uid: owner, mode }: Stats, { uid, isSecret }: ReadOptions): string {
  if (owner !== uid && owner !== 0) return `belongs to user ${owner}, not to ${uid} or root`;
  if (isSecret && (mode & 0o007) !== 0) return 'is accessible to all users';
  if ((mode & 0o002) !== 0) return 'can be changed by all users';
  return (mode & 0o020) === 0 ? '' : 'can be changed by its group';
}

function unsafe(path: string, flaw: string, { uid, mode }: Stats, isSecret: boolean): SwapError {
  const advice = isSecret
    ? `, but contains a secret: chmod 600 ${path}, and make new keys if others could read them`
    : `: it decides which clients are accepted; chown it to this user or root, and chmod go-w ${path}`;
  const facts = { path, uid, mode: mode & 0o777 };
  return new SwapError('ERR_IO_UNSAFE_PATH', `${path} ${flaw}${advice}`, facts);
}

/** @throws SwapError ERR_IO_SYSTEM, ERR_IO_UNSAFE_PATH */
function checkFolder(path: string, uid: number): void {
  let stat: Stats;
  try {
    stat = statSync(path);
  } catch (cause) {
    throw systemError(`read ${path}`, cause, 'see --tls-certificates');
  }
  const flaw = fileFlaw(stat, { uid, isSecret: false });
  if (flaw !== '') throw unsafe(path, flaw, stat, false);
}

/** @throws SwapError ERR_IO_SYSTEM, ERR_IO_UNSAFE_PATH, ERR_ARG_VALUE */
function readText(path: string, { uid, isSecret }: ReadOptions): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // a FIFO would block
  } catch (cause) {
    throw systemError(`read ${path}`, cause, 'TLS needs it; see --tls-certificates and --tls-psk');
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > FILE_BYTES_MAX)
      throw unusable(path, stat.isFile() ? 'is longer than 1 MiB' : 'is not a file');
    const flaw = fileFlaw(stat, { uid, isSecret });
    if (flaw !== '') throw unsafe(path, flaw, stat, isSecret);
    const bytes = Buffer.alloc(stat.size);
    let length = 0;
    for (let count = 1; count > 0 && length < bytes.length; length += count)
      count = readSync(fd, bytes, length, bytes.length - length, null);
    return bytes.toString('utf8', 0, length);
  } catch (cause) {
    if (cause instanceof SwapError) throw cause;
    throw systemError(`read ${path}`, cause);
  } finally {
    closeSync(fd);
  }
}

const unusable = (path: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${path} ${why}`, { path });

/** Runs a parser; its error is replaced by one that names the file. */
function parsed<T>(path: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    throw unusable(path, `is not ${what} in PEM form${code === '' ? '' : ` (${code})`}`);
  }
}

/** Warns if a certificate is expired or not yet valid: clients refuse it. */
function logValidity(path: string, certificate: X509Certificate, log: Log): void {
  const { validFrom, validTo } = certificate;
  if (Date.parse(validTo) < Date.now())
    log(`warning: ${path} expired on ${validTo}: clients will refuse it`);
  else if (Date.parse(validFrom) > Date.now())
    log(`warning: ${path} is not valid before ${validFrom}: clients will refuse it`);
}

function readCertificates(
  folder: string,
  verifyPeer: boolean,
  uid: number,
  log: Log,
): TlsCredentials {
  const read = (name: string, isSecret: boolean): { path: string; text: string } => {
    const path = join(folder, name);
    return { path, text: readText(path, { uid, isSecret }) };
  };
  checkFolder(folder, uid);
  const certificate = read('server-cert.pem', false);
  const key = read('server-key.pem', true);
  const x509 = parsed(
    certificate.path,
    'a certificate',
    () => new X509Certificate(certificate.text),
  );
  // PKCS #8, and the older format of OpenSSL.
  if (/^(-----BEGIN ENCRYPTED |Proc-Type: 4,ENCRYPTED)/m.test(key.text))
    throw unusable(
      key.path,
      'has a passphrase, which a service cannot enter: write the key without one, readable by you alone',
    );
  const privateKey: KeyObject = parsed(key.path, 'a private key', () => createPrivateKey(key.text));
  if (!x509.checkPrivateKey(privateKey))
    throw unusable(key.path, `is not the key of ${certificate.path}`);
  parsed(certificate.path, 'a usable certificate', () =>
    createSecureContext({ cert: certificate.text, key: key.text }),
  );
  logValidity(certificate.path, x509, log);
  if (!verifyPeer)
    return {
      kind: 'x509',
      certificate: certificate.text,
      key: new Secret(key.text),
      clientAuthority: null,
      revoked: null,
    };
  const authority = read('ca-cert.pem', false);
  for (const pem of blocksOf(authority.text, 'CERTIFICATE')) {
    const ca = parsed(authority.path, 'a certificate', () => new X509Certificate(pem));
    if (!ca.ca) throw unusable(authority.path, 'is not the certificate of an authority');
  }
  const lists = readOptional(() => read('ca-crl.pem', false));
  // node:tls uses only the first list of a text.
  const revoked = lists === null ? null : blocksOf(lists.text, 'X509 CRL');
  if (lists !== null && revoked !== null)
    parsed(lists.path, 'a certificate revocation list', () =>
      createSecureContext({ crl: [...revoked] }),
    );
  return {
    kind: 'x509',
    certificate: certificate.text,
    key: new Secret(key.text),
    clientAuthority: authority.text,
    revoked,
  };
}

/** The blocks of this label in a PEM file; the text itself if there is none, so that its parser refuses it. */
function blocksOf(text: string, label: string): readonly string[] {
  const [, ...parts] = text.split(`-----BEGIN ${label}-----`);
  return parts.length === 0 ? [text] : parts.map((part) => `-----BEGIN ${label}-----${part}`);
}

/** Null if the file does not exist. Any other error means that a list exists, and clients must not be accepted without it. */
function readOptional<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof SwapError && errnoOf(error.cause) === 'ENOENT') return null;
    throw error;
  }
}

/** The keys of a --tls-psk file. @throws SwapError ERR_ARG_VALUE */
export function parsePskFile(path: string, text: string): ReadonlyMap<string, Uint8Array> {
  const keys = new Map<string, Uint8Array>();
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trimEnd();
    if (line === '' || line.startsWith('#')) continue;
    const at = line.lastIndexOf(':');
    const bad = (why: string): SwapError => unusable(`${path}, line ${index + 1}`, why);
    const name = line.slice(0, Math.max(0, at));
    const hex = line.slice(at + 1);
    if (name === '' || hex.length % 2 !== 0 || !/^[0-9a-fA-F]+$/.test(hex))
      throw bad('is not of the form USERNAME:HEXKEY');
    const key = Buffer.from(hex, 'hex');
    if (key.length < KEY_BYTES_MIN || key.length > KEY_BYTES_MAX)
      throw bad(
        `has a key of ${key.length} bytes: use ${KEY_BYTES_MIN} to ${KEY_BYTES_MAX}, as openssl rand -hex 32 prints`,
      );
    if (Buffer.byteLength(name) > NAME_BYTES_MAX)
      throw bad(`has a user name of more than ${NAME_BYTES_MAX} bytes`);
    // U+FFFD replaces bytes that are not UTF-8, also in names of clients: different names would become equal.
    if (printable(name) !== name || name.includes('\ufffd'))
      throw bad('has a user name that is not printable UTF-8');
    if (keys.has(name)) throw bad('repeats a user name');
    keys.set(name, key);
  }
  if (keys.size === 0) throw unusable(path, 'contains no key: write lines USERNAME:HEXKEY');
  return keys;
}

/**
 * Reads and checks the files.
 * @param uid user id of this process
 * @throws SwapError ERR_IO_SYSTEM, ERR_IO_UNSAFE_PATH, ERR_ARG_VALUE
 */
export function loadTls({ mode, source }: TlsConfig, uid: number, log: Log): TlsServerOptions {
  if (source.kind === 'x509')
    return { mode, credentials: readCertificates(source.folder, source.verifyPeer, uid, log) };
  const text = readText(source.file, { uid, isSecret: true });
  const keys = new Secret(parsePskFile(source.file, text));
  return { mode, credentials: { kind: 'psk', keys } };
}
