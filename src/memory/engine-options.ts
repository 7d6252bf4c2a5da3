/** What a swap passes to the engine on its fault thread. */
import { UffdFeature } from '../os/linux/uffd-constants.ts';
import type { FaultPath } from './control-block.ts';
import type { WatchOptions } from './engine-watch.ts';
import type { TierOptions } from './tiers.ts';

export const REQUIRED_FEATURES: number = UffdFeature.faultFlagWriteProtect;
export const OPTIONAL_FEATURES: number = UffdFeature.poison;

export interface EngineOptions extends TierOptions {
  /** Resident budget shared by the regions without their own, pages; 0: each region has its own. */
  readonly sharedPages: number;
  /** The processor that the fault thread runs on; null: any. */
  readonly processor: number | null;
  /** Who serves faults, where it can be had. */
  readonly faults: FaultPath;
  /** The program or its user chose `faults`: a warning says so where it cannot be had. */
  readonly areFaultsChosen: boolean;
  /** Whether the main thread opened the swap: it tells native code before the process ends. */
  readonly isOfMain: boolean;
  /** Null: neither samples nor lines on stderr. */
  readonly watch: WatchOptions | null;
}
