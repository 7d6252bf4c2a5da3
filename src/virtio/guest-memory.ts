/**
 * The memory of a guest: regions at guest physical addresses, each mapped as one view.
 *
 *   guest address ─ reach() ─▶ view, offset, bytes left in the region
 *   address in the front-end ─ reachUser() ─▶ the same
 *
 * Invariants
 * - Regions are in ascending order of guest address and do not overlap; all addresses are below 2^53, where numbers are exact.
 * - An offset from reach() is inside the view, and `left` bytes follow it in the view, so that no range crosses the end of a
 *   region unnoticed. A caller that accepts ranges over adjacent regions calls reach() again for the rest; other callers refuse
 *   such a range.
 * Cost: one comparison if the address is in the region of the last call, otherwise a binary search; no allocation.
 */
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';

/** A piece of guest memory that is contiguous in the guest, in the front-end and in this process. */
export interface GuestRegion {
  readonly guestAddress: number;
  /** Address in the front-end, which describes rings with its own addresses. */
  readonly userAddress: number;
  readonly bytes: number;
  /** Exactly `bytes` long. */
  readonly view: Uint8Array;
}

/** A front-end has at most 509 memory slots; the region of a slot may be mapped in several pieces. */
export const REGIONS_MAX = 1024;

const isPlaced = (address: number, bytes: number): boolean =>
  Number.isSafeInteger(address) && address >= 0 && Number.isSafeInteger(address + bytes);

export class GuestMemory {
  readonly regions: readonly GuestRegion[];
  /** For loads of descriptors: `dataViews[i]` is over `regions[i].view`. */
  readonly dataViews: readonly DataView[];
  /**
   * The address that reach() looks up. It is not an argument, because V8 boxes a number above 2^31 that is passed to a
   * function.
   */
  readonly wanted: Float64Array = new Float64Array(1);
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  /** Result of the last reach(): region, offset in its view, and bytes from there to the end of the region. */
  region = 0;
  at = 0;
  left = 0;

  /** @throws SwapError ERR_PEER_PROTOCOL: regions overlap, are too many, or end above 2^53 */
  constructor(regions: readonly GuestRegion[]) {
    if (regions.length > REGIONS_MAX)
      throw refuse(`the memory of the guest has ${regions.length} regions, at most ${REGIONS_MAX}`);
    const ordered = [...regions].sort((a, b) => a.guestAddress - b.guestAddress);
    let end = 0;
    for (const { guestAddress, userAddress, bytes, view } of ordered) {
      assert(bytes === view.length, 'a region is as long as its view');
      const isValid = bytes > 0 && isPlaced(guestAddress, bytes) && isPlaced(userAddress, bytes);
      if (!isValid || guestAddress < end)
        throw refuse(
          `the region of ${bytes} bytes at 0x${guestAddress.toString(16)} is empty, overlaps another, or is beyond 2^53`,
        );
      end = guestAddress + bytes;
    }
    this.regions = ordered;
    this.dataViews = ordered.map(
      ({ view }) => new DataView(view.buffer, view.byteOffset, view.byteLength),
    );
    this.#starts = Float64Array.from(ordered, ({ guestAddress }) => guestAddress);
    this.#ends = Float64Array.from(ordered, ({ guestAddress, bytes }) => guestAddress + bytes);
  }

  /** Looks up `wanted[0]`, a guest physical address. False: no region contains it, and nothing has changed. */
  reach(): boolean {
    const address = this.wanted[0]!;
    let region = this.region;
    if (region >= this.#starts.length) return false; // there is no memory
    if (!(address >= this.#starts[region]! && address < this.#ends[region]!)) {
      let low = 0;
      let high = this.#starts.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (this.#ends[middle]! <= address) low = middle + 1;
        else high = middle;
      }
      if (low === this.#starts.length || address < this.#starts[low]!) return false;
      region = low;
      this.region = region;
    }
    this.at = address - this.#starts[region]!;
    this.left = this.#ends[region]! - address;
    return true;
  }

  /** Looks up an address of the front-end; used only to set up a queue. */
  reachUser(address: number): boolean {
    const region = this.regions.findIndex(
      ({ userAddress, bytes }) => address >= userAddress && address < userAddress + bytes,
    );
    if (region === -1) return false;
    const { userAddress, bytes } = this.regions[region]!;
    this.region = region;
    this.at = address - userAddress;
    this.left = userAddress + bytes - address;
    return true;
  }
}

const refuse = (what: string): SwapError => new SwapError('ERR_PEER_PROTOCOL', what);
