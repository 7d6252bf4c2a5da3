/** The parts of which a shard is created. */
import type { Budget } from '../arena/budget.ts';
import type { PageReleaseFactory } from '../arena/ops.ts';
import type { CodecFactory } from '../codec/codec.ts';
import type { ShardImages, ShardView } from './image.ts';

/** Maximum number of slots of a shard: 2 GiB of pages, which fit one 4 GiB memory even when stored raw. */
export const SHARD_SLOTS_MAX: number = 2 ** 19;

/** A put that finds no space releases this many chunks before it is refused. */
export const PRESSURE_CHUNKS = 64;
/** Makes the other shards of the same budget release free memory; returns the number of pages. */
export type Pressure = (requester: object) => number;

export interface ShardParts {
  /** 1 .. SHARD_SLOTS_MAX. */
  readonly slots: number;
  readonly codec: CodecFactory;
  readonly dense: CodecFactory | null;
  readonly budget: Budget;
  readonly release: PageReleaseFactory;
  readonly pressure: Pressure;
  /** Number of the shard in the images; null: a memory of this process. */
  readonly number: number;
  readonly images: ShardImages | null;
}

/** Called for each shard of a store when it is created, with its number. */
export type OnShard = (number: number, view: ShardView) => void;
