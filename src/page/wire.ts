/**
 * What a host sends to its dashboard page: the events of GET /v1/stream. Within schemaVersion 1, fields are only added.
 */

/** Names of the numbers of a sample, in this order. Bytes, counts, or events per second; latencies in seconds. */
export const sampleColumns = [
  'time',
  'clients',
  'dataBytes',
  'usedBytes',
  'limitBytes',
  'residentBytes',
  'sameFilledBytes',
  'compressiblePagesBytes',
  'fullPagesBytes',
  'backingBytes',
  'reads',
  'writes',
  'discards',
  'refusals',
  'freeP50',
  'freeP99',
  'loopP99',
] as const;

export type SampleColumn = (typeof sampleColumns)[number];

/** Null: there was nothing to measure. */
export type SampleValue = number | null;

/** A disk, as a row of the table of disks. Rates are per second. */
export interface DiskRow {
  readonly name: string;
  readonly isFrozen: boolean;
  readonly connections: number;
  readonly diskSizeBytes: number;
  readonly dataBytes: number;
  readonly usedBytes: number;
  /** 0: none. */
  readonly limitBytes: number;
  /** 0: any. */
  readonly rateBytes: number;
  readonly backingBytes: number;
  /** Writes refused so far. */
  readonly refused: number;
  readonly reads: number;
  readonly writes: number;
  readonly discards: number;
}

/** The event `sample`, once a second. */
export interface Sample {
  /** As sampleColumns. */
  readonly values: readonly SampleValue[];
  readonly disks: readonly DiskRow[];
  /** Counters that must stay 0 but are not. */
  readonly violated: readonly string[];
}

/** The event `event`. */
export interface WireEvent {
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly event: string;
  /** Null: the host. */
  readonly disk: string | null;
  readonly message: string;
}

/** The event `hello`, the first one. */
export interface Hello {
  readonly schemaVersion: number;
  readonly version: string;
  readonly pid: number;
  /** Whether this client may change the host. */
  readonly canWrite: boolean;
  readonly intervalMs: number;
  readonly columns: readonly string[];
  /** An array for each column, oldest first. */
  readonly history: readonly (readonly SampleValue[])[];
  readonly disks: readonly DiskRow[];
  readonly violated: readonly string[];
  readonly events: readonly WireEvent[];
}
