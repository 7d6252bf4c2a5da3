/**
 * What a server offers: disks by name. The table is live: a name is looked up when a client asks for it,
 * so exports may come and go while the server runs. A Map fits.
 */
import { assert } from '../../base/assert.ts';
import type { Disk } from '../../block/ops.ts';
import {
  BLOCK_BYTES_MIN,
  TransmissionFlag as Flag,
  PAYLOAD_BYTES_MAX,
  STRING_BYTES_MAX,
} from './wire.ts';

export interface NbdExport {
  /** Canonical name, at most STRING_BYTES_MAX bytes of UTF-8; may be empty. */
  readonly name: string;
  /** For people; may be empty. Cut at STRING_BYTES_MAX bytes. */
  readonly description: string;
  readonly disk: Disk;
  /** Several clients may have it open at a time. */
  readonly isShared?: boolean;
  /** Told of each request that is refused before it reaches the disk: outside it, or not understood. */
  readonly onInvalid?: () => void;
}

/** Says why a client may not open an export now, for that client to read; null: it may. */
export type Admit = (wanted: NbdExport) => string | null;

export interface NbdExports {
  get(name: string): NbdExport | undefined;
  values(): Iterable<NbdExport>;
  /** What to tell a client that asked for a name that is not there. */
  whyUnknown?(name: string): string;
}

/** The export of that name; the empty name means the first one unless an export is called so. */
export function findExport(exports: NbdExports, name: string): NbdExport | undefined {
  const found = exports.get(name);
  if (found !== undefined || name !== '') return found;
  for (const first of exports.values()) return first;
  return undefined;
}

/** "Size constraints" as told to clients. */
export interface BlockSizes {
  readonly minimum: number;
  readonly preferred: number;
  readonly maximum: number;
}

export function blockSizesOf(disk: Disk): BlockSizes {
  const preferred = Math.max(512, disk.limits.physicalBlockBytes);
  assert((preferred & (preferred - 1)) === 0, 'a block size is a power of two');
  return { minimum: BLOCK_BYTES_MIN, preferred, maximum: PAYLOAD_BYTES_MAX };
}

/** Transmission flags: what may be sent to this disk. All its connections share one state: multi-conn. */
export function transmissionFlagsOf(disk: Disk, structured: boolean): number {
  const always = Flag.hasFlags | Flag.sendFlush | Flag.sendFua | Flag.canMultiConn | Flag.sendCache;
  const write = disk.readOnly
    ? Flag.readOnly
    : Flag.sendTrim | Flag.sendWriteZeroes | Flag.sendFastZero;
  return always | write | (structured ? Flag.sendDf : 0);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** Writes `text` at `at`, cut to STRING_BYTES_MAX bytes at a character; returns its bytes. */
export function putString(bytes: Uint8Array, at: number, text: string): number {
  return encoder.encodeInto(text, bytes.subarray(at, at + STRING_BYTES_MAX)).written;
}

/** The string in [at, at + length), or null when it is not UTF-8. */
export function stringAt(bytes: Uint8Array, at: number, length: number): string | null {
  try {
    return decoder.decode(bytes.subarray(at, at + length));
  } catch {
    return null;
  }
}
