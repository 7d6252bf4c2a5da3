/** What the protocol needs from the device and its memory. A method that throws a SwapError has changed nothing. */

/** A region of guest memory, described by the front-end. */
export interface MemoryRegion {
  /** Guest physical address. */
  readonly guestAddress: number;
  /** Address in the front-end. */
  readonly userAddress: number;
  readonly bytes: number;
  /** Offset in the file. */
  readonly position: number;
}

/** A virtqueue to start; its addresses are those of the front-end. */
export interface RingSetup {
  readonly index: number;
  /** Descriptors. */
  readonly size: number;
  /** Index of the next available entry. */
  readonly base: number;
  readonly desc: number;
  readonly used: number;
  readonly avail: number;
}

/** The region where a front-end keeps the in-flight requests. */
export interface InflightArea {
  readonly bytes: number;
  readonly position: number;
  readonly queues: number;
  readonly queueSize: number;
}

/** Passed descriptors belong to the callee, even if it throws. */
export interface VhostUserDevice {
  /** Feature bits of the device, without F_PROTOCOL_FEATURES. */
  readonly features: bigint;
  readonly queueCount: number;
  /** Maximum number of descriptors of a queue. */
  readonly queueSizeMax: number;
  /** Whether no request is in flight; only then may the methods that stop rings or change memory be called. */
  readonly isIdle: boolean;
  /** Accepted features of the guest; 0: no ring runs. */
  readonly memoryBytes: number;
  setFeatures(features: bigint): void;
  /** Fills `out` with the configuration space from `offset` on; false: out of range. */
  readConfig(offset: number, out: Uint8Array): boolean;
  /** False: these bytes cannot be written. */
  writeConfig(offset: number, bytes: Uint8Array): boolean;
  setMemory(regions: readonly MemoryRegion[], fds: readonly number[]): void;
  addMemory(region: MemoryRegion, fd: number): void;
  removeMemory(region: MemoryRegion): void;
  /** Creates a memory file with an area for the queues. @returns a descriptor that belongs to the caller */
  createInflight(
    queues: number,
    queueSize: number,
  ): { readonly fd: number; readonly bytes: number };
  setInflight(fd: number, area: InflightArea): void;
  setKick(index: number, fd: number): void;
  /** -1: the driver is not notified. */
  setCall(index: number, fd: number): void;
  setErr(index: number, fd: number): void;
  startRing(setup: RingSetup): void;
  /** @returns the index of the next available entry */
  stopRing(index: number): number;
  /** Resets the features and the in-flight area; no ring may run. */
  reset(): void;
}
