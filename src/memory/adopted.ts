/**
 * The WebAssembly memories and ArrayBuffers of this thread that are paged, and their regions. It is a separate file so that
 * `frontswap/register` can follow transfers before it loads the engine.
 */
import { SwapError } from '../base/errors.ts';
import type { TransferListener } from './buffer-transfers.ts';
import type { SwapRegion } from './region.ts';

const regions = new WeakMap<object, SwapRegion>();

/** Makes another ArrayBuffer the owner of a paged buffer's bytes. */
const ownersOfBytes = new WeakMap<ArrayBuffer, (owner: ArrayBuffer) => void>();

export const adoptedRegion = (memory: object): SwapRegion | null => regions.get(memory) ?? null;

export function addAdopted(memory: object, region: SwapRegion): void {
  regions.set(memory, region);
}

/**
 * The engine refuses a paged memory, too, but only after the reserve was checked, which a memory file has replaced.
 * @throws SwapError ERR_ARG_VALUE
 */
export function refuseAdopted(memory: object): void {
  if (regions.has(memory))
    throw new SwapError(
      'ERR_ARG_VALUE',
      'adopt(): this memory is already paged; regionOf() returns its region',
    );
}

/** @param own makes another buffer the owner, and adds that buffer */
export function addAdoptedBuffer(
  buffer: ArrayBuffer,
  region: SwapRegion,
  own: (owner: ArrayBuffer) => void,
): void {
  regions.set(buffer, region);
  ownersOfBytes.set(buffer, own);
}

/** The region has ended. The memory may have been adopted again since, by another swap. */
export function removeAdopted(memory: object, region: SwapRegion): void {
  if (regions.get(memory) !== region) return;
  regions.delete(memory);
  ownersOfBytes.delete(memory as ArrayBuffer);
}

export const followTransfers: TransferListener = {
  moved: (from, to) => {
    regions.delete(from);
    ownersOfBytes.get(from)?.(to);
    ownersOfBytes.delete(from);
  },
  release: (buffer) => regions.get(buffer)?.[Symbol.dispose](),
};
