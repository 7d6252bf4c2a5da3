/** What the protocol needs of the device and of its memory. Methods refuse with a SwapError and then change nothing. */

/** A region of guest memory, as the front-end describes it. */
export interface MemoryRegion {
  /** Guest physical address. */
  readonly guestAddress: number;
  /** Address in the front-end. */
  readonly userAddress: number;
  readonly bytes: number;
  /** Offset in the file. */
  readonly position: number;
}

/** A virtqueue that starts; addresses are those of the front-end. */
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

/** The region where a front-end keeps what is in flight. */
export interface InflightArea {
  readonly bytes: number;
  readonly position: number;
  readonly queues: number;
  readonly queueSize: number;
}

/** Descriptors that are passed belong to the callee, also if it throws. */
export interface VhostUserDevice {
  /** Feature bits of the device, without F_PROTOCOL_FEATURES. */
  readonly features: bigint;
  readonly queueCount: number;
  /** Descriptors of a queue at most. */
  readonly queueSizeMax: number;
  /** Whether no request is in flight: only then are the methods called that stop rings or change memory. */
  readonly isIdle: boolean;
  /** Of the guest; 0: no ring runs. */
  readonly memoryBytes: number;
  setFeatures(features: bigint): void;
  /** Fills `out` from `offset` of the configuration space on; false: not in it. */
  readConfig(offset: number, out: Uint8Array): boolean;
  /** False: these bytes cannot be written. */
  writeConfig(offset: number, bytes: Uint8Array): boolean;
  setMemory(regions: readonly MemoryRegion[], fds: readonly number[]): void;
  addMemory(region: MemoryRegion, fd: number): void;
  removeMemory(region: MemoryRegion): void;
  /** A new memory file with an area for the queues. @returns a descriptor of the caller */
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
  /** Forgets the features and the in-flight area; no ring runs. */
  reset(): void;
}
