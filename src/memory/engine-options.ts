/** The options that a swap passes to the engine on its fault thread. */
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
  /** Who serves faults, if it is available. */
  readonly faults: FaultPath;
  /** True: the program or its user chose `faults`; a warning is emitted if it is not available. */
  readonly areFaultsChosen: boolean;
  /** Whether the main thread opened the swap: it notifies native code before the process ends. */
  readonly isOfMain: boolean;
  /** Null: no samples and no lines on stderr. */
  readonly watch: WatchOptions | null;
}
