/**
 * The exports of a server: disks by name. A name is looked up when a client requests it, so exports can be added and removed
 * while the server runs. A Map implements NbdExports.
 */
import { assert } from '../../base/assert.ts';
import type { Disk } from '../../block/ops.ts';
import {
  BLOCK_BYTES_MIN,
  TransmissionFlag as Flag,
  PAYLOAD_BYTES_MAX,
  STRING_BYTES_MAX,
} from './wire.ts';

/** Delays the requests of an export (server/export-gate.ts). */
export interface RequestGate {
  /** True: no request must wait now, and no bytes must be charged. */
  readonly isOpen: boolean;
  /** Time until a batch may start, ms; Infinity: until the server is told to resume the export. */
  waitMs(nowMs: number): number;
  /** Called when a batch has moved `bytes`. */
  charge(bytes: number): void;
}

/** The clients that may see and open an export: those with one of the user ids or one of the group ids. */
export interface AccessList {
  readonly uids: readonly number[];
  readonly gids: readonly number[];
}

export interface NbdExport {
  /** Canonical name, at most STRING_BYTES_MAX bytes of UTF-8; may be empty. */
  readonly name: string;
  /** Human-readable; may be empty. Truncated to STRING_BYTES_MAX bytes. */
  readonly description: string;
  readonly disk: Disk;
  /** True: another thread serves it, so the session stops at the option that opens it (SessionStop.handOver). Default false. */
  readonly isElsewhere?: boolean;
  /** Whether several clients may open it at the same time. Default false. */
  readonly isShared?: boolean;
  /** Why it is in use by a client of another server; null: it is not. Default: never in use. */
  readonly whyBusy?: () => string | null;
  /** The clients that see it; null or absent: every client. The server enforces the list (server/visible-exports.ts). */
  readonly access?: AccessList | null;
  /** Delays requests; null or absent: none. */
  readonly gate?: RequestGate | null;
  /** Called for each invalid request that does not reach the disk: out of range or malformed. */
  readonly onInvalid?: () => void;
}

/** Why a client may not open the export now, as text for that client; null: it may. */
export type Admit = (requested: NbdExport) => string | null;

export interface NbdExports {
  get(name: string): NbdExport | undefined;
  values(): Iterable<NbdExport>;
  /** Name of the export that the empty name selects. Default: the first one. */
  readonly defaultName?: string | undefined;
  /**
   * Message for a client that requests an unknown name; undefined: no message.
   * @param sees whether the client may know of an export; default: of every export
   */
  whyUnknown?(name: string, sees?: (served: NbdExport) => boolean): string | undefined;
}

/** The export of that name. The empty name selects the default export, unless an export has the empty name. */
export function findExport(exports: NbdExports, name: string): NbdExport | undefined {
  const found = exports.get(name);
  if (found !== undefined || name !== '') return found;
  if (exports.defaultName !== undefined) return exports.get(exports.defaultName);
  for (const first of exports.values()) return first;
  return undefined;
}

/** "Size constraints" sent to clients. */
export interface BlockSizes {
  readonly minimum: number;
  readonly preferred: number;
  readonly maximum: number;
}

export function blockSizesOf(disk: Disk): BlockSizes {
  const preferred = Math.max(512, disk.limits.physicalBlockBytes);
  assert((preferred & (preferred - 1)) === 0, 'preferred is a power of two');
  return { minimum: BLOCK_BYTES_MIN, preferred, maximum: PAYLOAD_BYTES_MAX };
}

/** Transmission flags of a disk. CAN_MULTI_CONN is set: all connections see one disk, without a cache in between. */
export function transmissionFlagsOf(disk: Disk, structured: boolean): number {
  const always = Flag.hasFlags | Flag.sendFlush | Flag.sendFua | Flag.canMultiConn | Flag.sendCache;
  const write = disk.readOnly
    ? Flag.readOnly
    : Flag.sendTrim | Flag.sendWriteZeroes | Flag.sendFastZero;
  return always | write | (structured ? Flag.sendDf : 0);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** Writes `text` at `at`, truncated to STRING_BYTES_MAX bytes at a character boundary. Returns the bytes written. */
export function putString(bytes: Uint8Array, at: number, text: string): number {
  return encoder.encodeInto(text, bytes.subarray(at, at + STRING_BYTES_MAX)).written;
}

/** The string in [at, at + length), or null when it is not valid UTF-8. */
export function stringAt(bytes: Uint8Array, at: number, length: number): string | null {
  try {
    return decoder.decode(bytes.subarray(at, at + length));
  } catch {
    return null;
  }
}
