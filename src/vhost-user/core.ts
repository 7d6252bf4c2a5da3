/** What the back-end needs of the virtio block device that it serves. */
import type { MappedRegion } from './memory-table.ts';
import type { RingSetup } from './protocol/ops.ts';

export interface DeviceCore extends Disposable {
  readonly features: bigint;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  /** Requests that the disk has not ended. */
  readonly inFlight: number;
  setFeatures(features: bigint): void;
  readConfig(offset: number, out: Uint8Array): boolean;
  writeConfig(offset: number, bytes: Uint8Array): boolean;
  /** No queue runs. */
  setMemory(regions: readonly MappedRegion[]): void;
  /** Bytes of the in-flight area of a queue. */
  inflightBytes(queueSize: number): number;
  /** Where a queue keeps what is in flight; null: nowhere. The queue does not run. */
  setInflight(index: number, area: Uint8Array | null): void;
  /** @throws SwapError ERR_PEER_PROTOCOL: an address is not in the memory */
  start(setup: RingSetup): void;
  /** @returns the index of the next available entry */
  stop(index: number): number;
  /** The driver has made requests available. */
  kicked(index: number): void;
  /** Serves requests. @returns whether there is more to do */
  serve(): boolean;
  /** Bytes of data moved since the last call. */
  takeBytes(): number;
  /** Whether the driver of the queue must be notified since the last call. */
  takeNotify(index: number): boolean;
  /** The driver broke a queue, which was stopped since the last call: why; null: none. */
  takeFault(): string | null;
}
