/**
 * The list document: the reply to `GET /v1/disks` and the output of `frontswap list --json`. The format is stable: within a
 * schemaVersion, fields are only added. One table of fields defines the JSON schema and the check of a host's document.
 */
import { SwapError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { DiskStats } from './parts.ts';

const SCHEMA_VERSION = 1;

export interface DiskReport extends DiskStats {
  readonly name: string;
  readonly readOnly: boolean;
  /** Number of connections that have the disk open. */
  readonly connections: number;
  /** Whether requests wait until the disk is thawed. */
  readonly isFrozen: boolean;
  /** Whether its pages outlive the host, in an image. */
  readonly isPersistent: boolean;
  /** Bytes of the image in use; 0: no image. */
  readonly imageBytes: number;
  /** Pages that the image had when the disk was added. */
  readonly adoptedPages: number;
  /** Bytes per second that clients may send and receive; 0: any. */
  readonly rateBytes: number;
  /** The setting of the host: `off`, `on`, `require`. */
  readonly tls: string;
  /** Users, and groups, that may see the disk; null: every client may. */
  readonly allowedUids: readonly number[] | null;
  readonly allowedGids: readonly number[] | null;
  /** Path of its vhost-user socket; empty: none. */
  readonly vhostUserSocket: string;
  /** URIs of the disk, one per listener. */
  readonly uris: readonly string[];
  /** Process id of the host. */
  readonly hostPid: number;
  /** Control socket of the host; empty: none. */
  readonly hostControl: string;
}

export interface ListDocument {
  readonly schemaVersion: number;
  readonly disks: readonly DiskReport[];
}

type Kind = 'count' | 'text' | 'boolean' | 'texts' | 'ids';
interface FieldSpec {
  readonly kind: Kind;
  readonly help: string;
}

/** The NBD server splits a request into one or more bios, and the device counts bios. */
const splitNote = "a client's request counts as one or more";

const fields: Readonly<Record<keyof DiskReport, FieldSpec>> = {
  name: { kind: 'text', help: 'Name of the disk and of its NBD export.' },
  algorithm: { kind: 'text', help: 'Page compressor.' },
  readOnly: { kind: 'boolean', help: 'Whether writes are refused.' },
  uris: { kind: 'texts', help: 'NBD URIs of the disk, one per listener.' },
  vhostUserSocket: {
    kind: 'text',
    help: 'Socket where a guest opens the disk by vhost-user-blk; empty: none.',
  },
  hostPid: { kind: 'count', help: 'Process id of the host that serves the disk.' },
  hostControl: { kind: 'text', help: 'Control socket of that host.' },
  connections: { kind: 'count', help: 'Clients that have the disk open now.' },
  isFrozen: { kind: 'boolean', help: 'Whether requests wait until `frontswap thaw`.' },
  isPersistent: { kind: 'boolean', help: 'Whether the pages outlive the host: --persist.' },
  imageBytes: {
    kind: 'count',
    help: 'Memory of the image file of the disk; 0: none.',
  },
  adoptedPages: {
    kind: 'count',
    help: 'Pages in the image when the host added the disk.',
  },
  rateBytes: {
    kind: 'count',
    help: 'Bytes per second that clients may send and receive together; 0 means no limit.',
  },
  tls: { kind: 'text', help: 'Whether the host encrypts connections: off, on or require.' },
  allowedUids: { kind: 'ids', help: 'Users that may see the disk; null: every client may.' },
  allowedGids: { kind: 'ids', help: 'Groups that may see the disk; null: every client may.' },
  diskSizeBytes: { kind: 'count', help: 'Size of the disk as clients see it.' },
  storedPages: { kind: 'count', help: 'Pages of 4096 bytes that are stored now.' },
  dataBytes: { kind: 'count', help: 'storedPages times 4096.' },
  compressedBytes: { kind: 'count', help: 'Bytes of the stored pages after compression.' },
  usedBytes: { kind: 'count', help: 'All memory of the disk now, metadata and gaps included.' },
  peakUsedBytes: {
    kind: 'count',
    help: 'Maximum so far of usedBytes plus freed memory that was not released yet.',
  },
  sameFilledPages: { kind: 'count', help: 'Stored pages of one repeated value: no payload.' },
  zeroPages: { kind: 'count', help: 'Stored pages of zeros; counted in sameFilledPages, too.' },
  goodPages: { kind: 'count', help: 'Stored pages that compressed to half a page or less.' },
  incompressiblePages: {
    kind: 'count',
    help: 'Stored pages that did not compress; stored uncompressed.',
  },
  limitBytes: { kind: 'count', help: 'Limit of usedBytes; 0 means none.' },
  compactedPages: { kind: 'count', help: 'Pages of memory released by compaction so far.' },
  reads: { kind: 'count', help: `Reads so far; ${splitNote}.` },
  writes: { kind: 'count', help: `Writes so far; ${splitNote}.` },
  discards: { kind: 'count', help: `Discards and write-zeroes so far; ${splitNote}.` },
  notifyFree: { kind: 'count', help: 'Pages dropped by discard and write-zeroes so far.' },
  missFree: {
    kind: 'count',
    help: 'Slots that were reported as free but are outside the disk or had a request in flight.',
  },
  invalidIo: { kind: 'count', help: 'Requests outside the disk or malformed, so far.' },
  failedReads: {
    kind: 'count',
    help: 'Reads or partial writes of a damaged page, or that failed on the backing; must stay 0.',
  },
  failedWrites: {
    kind: 'count',
    help: 'Writes so far that were refused because the disk was full, or that failed on the backing.',
  },
  backingBytes: {
    kind: 'count',
    help: 'Bytes of pages that are on the backing now, not in memory.',
  },
  backingReads: { kind: 'count', help: 'Pages read from the backing so far.' },
  backingWrites: { kind: 'count', help: 'Pages written to the backing so far.' },
  backingDiscardedBytes: { kind: 'count', help: 'Bytes discarded on the backing so far.' },
  backingFailures: {
    kind: 'count',
    help: 'Requests that failed on the backing so far; must stay 0.',
  },
  backingNoSpace: {
    kind: 'count',
    help: 'Part of backingFailures: writes so far that the backing had no space for.',
  },
  backingMismatches: {
    kind: 'count',
    help: 'Pages so far that the backing returned with contents other than those written; must stay 0.',
  },
};

const jsonType: Readonly<Record<Kind, object>> = {
  count: { type: 'integer', minimum: 0 },
  text: { type: 'string' },
  boolean: { type: 'boolean' },
  texts: { type: 'array', items: { type: 'string' } },
  ids: { type: ['array', 'null'], items: { type: 'integer', minimum: 0 } },
};

/** JSON schema of the document; docs/reference/list.schema.json is generated from it. */
export function listSchema(): object {
  const properties = Object.fromEntries(
    Object.entries(fields).map(([name, { kind, help }]) => [
      name,
      { ...jsonType[kind], description: help },
    ]),
  );
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'frontswap list --json',
    type: 'object',
    required: ['schemaVersion', 'disks'],
    properties: {
      schemaVersion: { const: SCHEMA_VERSION },
      disks: {
        type: 'array',
        items: { type: 'object', required: Object.keys(fields), properties },
      },
    },
  };
}

export const listDocument = (disks: readonly DiskReport[]): ListDocument => ({
  schemaVersion: SCHEMA_VERSION,
  disks,
});

/** The fields of a report with their meanings, in the order of the document. */
export const fieldsOfReport = (): readonly (readonly [field: keyof DiskReport, help: string])[] =>
  Object.entries(fields).map(([name, { help }]) => [name as keyof DiskReport, help]);

/** Text is printed on terminals: control characters and characters that change its direction are invalid. */
const isText = (value: unknown): boolean => typeof value === 'string' && printable(value) === value;

function isValid(kind: Kind, value: unknown): boolean {
  const isCount = (one: unknown): boolean =>
    typeof one === 'number' && Number.isSafeInteger(one) && one >= 0;
  if (kind === 'count') return isCount(value);
  if (kind === 'ids') return value === null || (Array.isArray(value) && value.every(isCount));
  if (kind === 'texts') return Array.isArray(value) && value.every(isText);
  return kind === 'text' ? isText(value) : typeof value === 'boolean';
}

/**
 * Checks that the reply of a host is a list document, and returns it.
 * @param from the sender, for messages
 * @throws SwapError ERR_PEER_PROTOCOL
 */
export function checkListDocument(value: unknown, from = 'the host'): ListDocument {
  const reject = (why: string): SwapError =>
    new SwapError('ERR_PEER_PROTOCOL', `the list of disks from ${from} is invalid: ${why}`);
  if (typeof value !== 'object' || value === null) throw reject('not an object');
  const { schemaVersion, disks } = value as Record<string, unknown>;
  const shownVersion = printable(String(schemaVersion)).slice(0, 20);
  if (schemaVersion !== SCHEMA_VERSION)
    throw reject(
      `it has version ${shownVersion}, this program reads ${SCHEMA_VERSION}; use the version that the host runs`,
    );
  if (!Array.isArray(disks)) throw reject("'disks' is missing");
  for (const disk of disks as unknown[]) {
    const why = whyNoReport(disk);
    if (why !== null) throw reject(why);
  }
  return value as ListDocument;
}

/** Why a value is not the report of a disk; null: it is. */
export function whyNoReport(disk: unknown): string | null {
  if (typeof disk !== 'object' || disk === null) return 'a disk is not an object';
  for (const [name, { kind }] of Object.entries(fields))
    if (!isValid(kind, (disk as Record<string, unknown>)[name])) return `bad '${name}'`;
  return null;
}
