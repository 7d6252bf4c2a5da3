/** Clients and pools as objects; per-page data is in the tables. */
import { Counters } from '../base/counters.ts';
import {
  CLIENT_COUNTERS,
  type ClientCounter,
  clientAt,
  POOL_COUNTERS,
  type PoolCounter,
} from './counters.ts';
import type { AgeList } from './page-table.ts';
import { POOLS_PER_CLIENT } from './results.ts';

/** A client that shares a pool, and the pool's number for that client. */
export interface Sharer {
  readonly client: Client;
  readonly local: number;
}

export class Client implements AgeList {
  readonly id: number;
  /** Its share of ephemeral memory relative to other clients; 0 means that its pages are evicted first. */
  weight: number;
  /** Maximum number of pages charged to it, 0 = no cap. */
  cap: number;
  frozen = false;
  /** False: its pages are stored raw. */
  compress = true;
  /** True while a Save of this client exists. */
  isBeingSaved = false;
  /** The list of ephemeral pages charged to it. */
  oldest = 0;
  newest = 0;
  /** By the client's pool number. */
  readonly pools: (Pool | null)[] = new Array<Pool | null>(POOLS_PER_CLIENT).fill(null);
  /** Shared pools it may join: 32 hex digits each. */
  readonly authorised: Set<string> = new Set();
  readonly counters: Counters<ClientCounter> = new Counters(CLIENT_COUNTERS);

  constructor(id: number, weight: number, cap: number) {
    this.id = id;
    this.weight = weight;
    this.cap = cap;
  }

  /** Pages charged to it. */
  get chargedPages(): number {
    const { values } = this.counters;
    return values[clientAt.ephemeralPages]! + values[clientAt.persistentPages]!;
  }
}

export interface PoolKind {
  readonly persistent: boolean;
  /** Whether a get removes the page; true for private ephemeral pools, unused for shared ones. */
  readonly exclusiveGets: boolean;
  /** 32 hex digits, '' = private. */
  readonly uuid: string;
}

export class Pool {
  /** Index in the host's table; clients do not see it. */
  readonly number: number;
  /** Sequence number: distinguishes a pool from a later one with the same number. */
  readonly serial: number;
  readonly persistent: boolean;
  readonly exclusiveGets: boolean;
  readonly uuid: string;
  /** The client charged for its pages; for a shared pool the earliest of its sharers. */
  owner: Client;
  /** Empty for a private pool. */
  readonly sharers: Sharer[] = [];
  firstObject = 0;
  readonly counters: Counters<PoolCounter> = new Counters(POOL_COUNTERS);

  constructor(number: number, serial: number, owner: Client, kind: PoolKind) {
    this.number = number;
    this.serial = serial;
    this.owner = owner;
    this.persistent = kind.persistent;
    this.exclusiveGets = kind.exclusiveGets;
    this.uuid = kind.uuid;
  }

  get isShared(): boolean {
    return this.uuid !== '';
  }
}
