/**
 * The configuration of one disk: the parts of `NAME=SIZE[,KEY=VALUE]`, as in --disk and `frontswap add`, and the parsers of the
 * values. config/disk-schema.ts checks them together.
 */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import { printable } from '../base/printable.ts';
import { formatSize, parseSize } from '../base/size.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { AccessList } from '../nbd/protocol/exports.ts';
import { accessKeys } from './disk-access.ts';

export interface DiskConfig {
  readonly name: string;
  readonly sizeBytes: number;
  /** Bytes; 0 = only the host's total limit. */
  readonly limitBytes: number;
  /** Whether several clients may open it at the same time. */
  readonly isShared: boolean;
  /** Time until pages are dropped after the last client has disconnected, seconds; null: never. */
  readonly keepSeconds: number | null;
  /** Bytes per second that its clients may send and receive together; 0: any. */
  readonly rateBytes: number;
  /** Path of a file or block device; absent: none. */
  readonly backing?: string;
  /** Path of its vhost-user socket; absent: none. */
  readonly vhostUser?: string;
  /** The clients that may see it; absent: all clients. */
  readonly access?: AccessList;
}

/** Slots are numbered below 2^31; 2^31 pages of 4 KiB are 8 TiB. */
const DISK_BYTES_MAX = 2 ** 31 * PAGE_BYTES;
/** mkswap(8) requires 10 pages. */
const DISK_BYTES_MIN = 10 * PAGE_BYTES;
export const DISKS_MAX = 256;
/** A page every 64 ms. */
const RATE_BYTES_MIN = 64 * 1024;
const DISK_FORM =
  'NAME=SIZE[,limit=SIZE][,backing=PATH][,shared=on][,vhost-user=PATH][,keep=SECONDS][,rate=SIZE][,allow-uid=IDS][,allow-gid=IDS]';
/** One year. */
export const KEEP_SECONDS_MAX = 31_536_000;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}$/;

const invalid = (setting: { from: string }, value: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${setting.from}: '${value}' ${why}`, {
    key: setting.from,
    value,
  });

/** The parts of `NAME=SIZE[,KEY=VALUE]`, still unchecked. */
export interface DiskText {
  readonly name: string;
  readonly size: string;
  /** Values by extraKeys. */
  readonly given: ReadonlyMap<string, string>;
}

/** @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN, ERR_ARG_CONFLICT */
export function splitDisk(from: string, text: string): DiskText {
  const [head = '', ...extras] = text.split(',');
  const [name = '', size, ...rest] = head.split('=');
  if (size === undefined || rest.length > 0)
    throw invalid({ from }, text, `is not of the form ${DISK_FORM}`);
  // `1,5G`: report the decimal comma, not an unknown option '5G'.
  const isDecimal = /^[0-9]*$/.test(size) && /^[0-9]/.test(extras[0] ?? '');
  if (isDecimal) parseSize(from, `${size},${extras[0]}`);
  return { name, size, given: readExtras(from, text, extras) };
}

/** @throws SwapError ERR_ARG_VALUE */
export function checkDiskName(from: string, name: string): void {
  if (!namePattern.test(name))
    throw invalid(
      { from },
      printable(name).slice(0, 80),
      'is not a valid disk name: use a letter or digit, then letters, digits and . _ : @ + -, at most 64 characters',
    );
}

/** Size of a disk, bytes; rounded up to a page, as zram does with disksize. */
export function parseDiskSize(from: string, text: string): number {
  const sizeBytes = Math.ceil(parseSize(from, text) / PAGE_BYTES) * PAGE_BYTES;
  if (sizeBytes < DISK_BYTES_MIN) throw invalid({ from }, text, 'is too small: mkswap needs 40K');
  if (sizeBytes > DISK_BYTES_MAX) throw invalid({ from }, text, 'is too large: the maximum is 8T');
  return sizeBytes;
}

/** An absolute path without characters that `NAME=SIZE,KEY=VALUE` cannot contain. */
export function parseDiskPath(from: string, text: string): string {
  if (/^\/[^,=\p{Cc}]*$/u.test(text)) return text;
  throw invalid(
    { from },
    printable(text),
    'is not an absolute path without commas, equals signs and control characters',
  );
}

/** Seconds; null for `never`. */
export function parseKeep(from: string, text: string): number | null {
  if (text === 'never') return null;
  if (/^[0-9]{1,9}$/.test(text) && Number(text) <= KEEP_SECONDS_MAX) return Number(text);
  throw invalid(
    { from },
    text,
    `is not a whole number of seconds from 0 to ${KEEP_SECONDS_MAX}, or never`,
  );
}

/** Bytes per second; 0: any. */
export function parseRate(from: string, text: string): number {
  const rateBytes = parseSize(from, text);
  if (rateBytes !== 0 && rateBytes < RATE_BYTES_MIN)
    throw invalid({ from }, text, `is too small: at least ${formatSize(RATE_BYTES_MIN)}, or 0`);
  return rateBytes;
}

export const extraKeys: readonly string[] = [
  'limit',
  'backing',
  'shared',
  'vhost-user',
  'keep',
  'rate',
  ...accessKeys,
];

/** Parses the KEY=VALUE pairs after a disk's size; each key at most once. */
function readExtras(
  from: string,
  text: string,
  extras: readonly string[],
): ReadonlyMap<string, string> {
  const given = new Map<string, string>();
  for (const extra of extras) {
    const [key = '', value = '', ...more] = extra.split('=');
    if (!extraKeys.includes(key))
      throw new SwapError(
        'ERR_ARG_UNKNOWN',
        `${from}: a disk has no option '${key}'${suggestion(key, extraKeys)}`,
        { key: from, value: key },
      );
    if (more.length > 0) throw invalid({ from }, extra, `is not of the form ${key}=VALUE`);
    if (given.has(key))
      throw new SwapError('ERR_ARG_CONFLICT', `${from}: duplicate '${key}' in '${text}'`, {
        key: from,
        value: text,
      });
    given.set(key, value);
  }
  return given;
}
