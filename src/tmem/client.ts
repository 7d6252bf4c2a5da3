/** Clients and pools: who owns what, by what rules. Cold data as objects; what is hot is in the tables. */
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

/** One client's hold on a shared pool: its number there. */
export interface Sharer {
  readonly client: Client;
  readonly local: number;
}

export class Client implements AgeList {
  readonly id: number;
  /** Share of ephemeral memory, relative to the other clients'; 0: only what nobody else wants. */
  weight: number;
  /** Most pages it may pay for, 0 = no cap. */
  cap: number;
  frozen = false;
  /** A save has it in hand. */
  isBeingSaved = false;
  /** Ephemeral pages it pays for, by age. */
  oldest = 0;
  newest = 0;
  /** By the client's own pool numbers. */
  readonly pools: (Pool | null)[] = new Array<Pool | null>(POOLS_PER_CLIENT).fill(null);
  /** Shared pools it may join: 32 hex digits each. */
  readonly authorised: Set<string> = new Set();
  readonly counters: Counters<ClientCounter> = new Counters(CLIENT_COUNTERS);

  constructor(id: number, weight: number, cap: number) {
    this.id = id;
    this.weight = weight;
    this.cap = cap;
  }

  /** Pages it pays for. */
  get chargedPages(): number {
    const { values } = this.counters;
    return values[clientAt.ephemeralPages]! + values[clientAt.persistentPages]!;
  }
}

export interface PoolKind {
  readonly persistent: boolean;
  /** A get takes the page out; always so for private ephemeral pools, never for shared ones. */
  readonly exclusiveGets: boolean;
  /** 32 hex digits, '' = private. */
  readonly uuid: string;
}

export class Pool {
  /** Number in the host's table, never seen by clients. */
  readonly number: number;
  /** Counts pools ever made: tells a pool from a later one under the same numbers. */
  readonly serial: number;
  readonly persistent: boolean;
  readonly exclusiveGets: boolean;
  readonly uuid: string;
  /** Who pays for its pages: its client; of a shared pool the sharer that came first. */
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
