/**
 * The messages between the thread of a host that listens and its engine workers. Between two threads, messages arrive in the
 * order sent: the answer to an operation arrives after the state changes that it caused.
 */
import type { ErrorCode, SwapError } from '../../base/errors.ts';
import type { HandedOver } from '../../nbd/server/visits.ts';
import type { ClientLimits } from '../client-limits.ts';
import type { DiskConfig } from '../disk-config.ts';
import type { FiguresValue } from '../disk-figures.ts';
import type { DiskChange } from '../disk-table.ts';
import type { EventKind } from '../events.ts';

/** What a worker gets at its start. */
export interface WorkerSettings {
  readonly codec: string;
  readonly hasUnix: boolean;
  /** Permission bits of vhost-user sockets. */
  readonly socketMode: number;
  readonly limits: ClientLimits;
  /** Memory of the SharedBudget of all disks. */
  readonly total: SharedArrayBuffer;
  /** True: another worker logs that the total is nearly used up. */
  readonly isTotalWatched: boolean;
}

/** The operations of HostDisks, and those of the worker. */
export interface Operations {
  add(config: DiskConfig, isLive: boolean): void;
  remove(name: string, force: boolean): number;
  set(name: string, change: DiskChange, force: boolean): void;
  freeze(name: string): void;
  thaw(name: string): void;
  flush(name: string): number;
  reset(name: string, force: boolean): number;
  maintain(): void;
  figures(): WorkerFigures;
  beginStop(): void;
  close(): void;
}
export type Operation = keyof Operations;

export interface WorkerFigures {
  readonly disks: readonly FiguresValue[];
  readonly dropped: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Values of HostCounter, by position. */
  readonly counters: Float64Array;
}

export type ToWorker =
  | {
      readonly kind: 'ask';
      readonly id: number;
      readonly operation: Operation;
      readonly args: readonly unknown[];
    }
  | {
      readonly kind: 'adopt';
      readonly connection: HandedOver;
      /** The name of the export that the empty name selects. */
      readonly defaultName: string;
    };

/** A SwapError without its class. */
interface ErrorValue extends Pick<SwapError, 'message' | 'facts'> {
  readonly code: ErrorCode;
}

export type FromWorker =
  | { readonly kind: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly error: ErrorValue }
  /** The configuration or the generation of a disk has changed; null: the disk has ended. */
  | {
      readonly kind: 'disk';
      readonly name: string;
      readonly figures: FiguresValue | null;
      readonly generation: string;
    }
  | { readonly kind: 'returned'; readonly connection: HandedOver }
  | { readonly kind: 'opened'; readonly id: number; readonly exportName: string }
  | { readonly kind: 'closed'; readonly id: number }
  /** A line that is only printed, or that is also an event, or that is about a client. */
  | { readonly kind: 'print' | 'log' | 'trace'; readonly line: string }
  | {
      readonly kind: 'event';
      readonly event: EventKind;
      readonly disk: string | null;
      readonly message: string;
    };
