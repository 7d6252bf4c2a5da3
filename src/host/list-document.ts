/**
 * The list document: the reply to `GET /v1/disks` and the output of `frontswap list --json`. A stable contract: within a
 * schemaVersion fields are only added. The JSON schema and the check of a host's document come from one table of fields.
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

type Kind = 'count' | 'text' | 'boolean' | 'texts';
interface FieldSpec {
  readonly kind: Kind;
  readonly help: string;
}

/** The NBD server splits a request into one or more bios, and the device counts bios. */
const pieces = "a client's request counts as one or more";

const fields: Readonly<Record<keyof DiskReport, FieldSpec>> = {
  name: { kind: 'text', help: 'Name of the disk and of its NBD export.' },
  algorithm: { kind: 'text', help: 'Page compressor.' },
  readOnly: { kind: 'boolean', help: 'Whether writes are refused.' },
  uris: { kind: 'texts', help: 'Where the disk is served, one NBD URI a listener.' },
  hostPid: { kind: 'count', help: 'Process id of the host that serves the disk.' },
  hostControl: { kind: 'text', help: 'Control socket of that host.' },
  connections: { kind: 'count', help: 'Clients that have the disk open now.' },
  diskSizeBytes: { kind: 'count', help: 'Size of the disk as clients see it.' },
  storedPages: { kind: 'count', help: 'Pages of 4096 bytes that hold data now.' },
  dataBytes: { kind: 'count', help: 'storedPages times 4096.' },
  compressedBytes: { kind: 'count', help: 'Bytes of the stored pages after compression.' },
  usedBytes: { kind: 'count', help: 'All memory of the disk now, metadata and gaps included.' },
  peakUsedBytes: {
    kind: 'count',
    help: 'Most that usedBytes and freed memory not yet released came to so far.',
  },
  sameFilledPages: { kind: 'count', help: 'Stored pages of one repeated value: no payload.' },
  zeroPages: { kind: 'count', help: 'Stored pages of zeros; same-filled pages all.' },
  goodPages: { kind: 'count', help: 'Stored pages that shrank to half a page or less.' },
  incompressiblePages: { kind: 'count', help: 'Stored pages that did not shrink: kept as is.' },
  limitBytes: { kind: 'count', help: 'Ceiling of usedBytes; 0 means none.' },
  compactedPages: { kind: 'count', help: 'Pages of memory released by compaction so far.' },
  reads: { kind: 'count', help: `Reads so far; ${pieces}.` },
  writes: { kind: 'count', help: `Writes so far; ${pieces}.` },
  discards: { kind: 'count', help: `Discards and write-zeroes so far; ${pieces}.` },
  notifyFree: { kind: 'count', help: 'Pages dropped by discard and write-zeroes so far.' },
  missFree: {
    kind: 'count',
    help: 'Slots said to be free that the disk does not have, or that were in use then.',
  },
  invalidIo: { kind: 'count', help: 'Requests outside the disk or not understood so far.' },
  failedReads: {
    kind: 'count',
    help: 'Reads or partial writes that met a damaged page, or that the backing failed; must stay 0.',
  },
  failedWrites: {
    kind: 'count',
    help: 'Writes refused so far because the disk was full, or failed by the backing.',
  },
  backingBytes: {
    kind: 'count',
    help: 'Bytes of pages that are on the backing now, not in memory.',
  },
  backingReads: { kind: 'count', help: 'Pages read from the backing so far.' },
  backingWrites: { kind: 'count', help: 'Pages written to the backing so far.' },
  backingDiscardedBytes: { kind: 'count', help: 'Bytes discarded on the backing so far.' },
  backingFailures: { kind: 'count', help: 'Requests that the backing failed so far; must stay 0.' },
  backingNoSpace: {
    kind: 'count',
    help: 'Of backingFailures: writes for which the backing had no space so far.',
  },
  backingMismatches: {
    kind: 'count',
    help: 'Pages so far that the backing returned otherwise than they were written; must stay 0.',
  },
};

const jsonType: Readonly<Record<Kind, object>> = {
  count: { type: 'integer', minimum: 0 },
  text: { type: 'string' },
  boolean: { type: 'boolean' },
  texts: { type: 'array', items: { type: 'string' } },
};

/** JSON schema of the document; docs/reference/list.schema.json is this, as a file. */
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

/** Text is printed on terminals: control characters and characters that change its direction are invalid. */
const isText = (value: unknown): boolean => typeof value === 'string' && printable(value) === value;

function isValid(kind: Kind, value: unknown): boolean {
  if (kind === 'count')
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
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
    if (typeof disk !== 'object' || disk === null) throw reject('a disk is not an object');
    for (const [name, { kind }] of Object.entries(fields))
      if (!isValid(kind, (disk as Record<string, unknown>)[name])) throw reject(`bad '${name}'`);
  }
  return value as ListDocument;
}
