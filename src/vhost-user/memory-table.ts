/**
 * The memory of a guest; it is mapped again whenever the front-end changes it.
 *
 *   region of the front-end ─ pieces of at most 1 GiB ─▶ one FileMemory each
 *
 * Everything about a region comes from the peer, so it is checked: its file must be safe to map (os/linux/file-memory.ts),
 * regions must not overlap, and their number and address space are limited.
 *
 * Invariants
 * - A change either completes, or throws and leaves the table unchanged.
 * - A passed descriptor is closed before the method returns, because a mapping does not need it.
 * Cost: some system calls and 10 GiB of address space per piece; no memory.
 */
import { SwapError } from '../base/errors.ts';
import { FileMemory, PIECE_BYTES_MAX, whyUnsafe } from '../os/linux/file-memory.ts';
import type { Linux } from '../os/linux/system-call.ts';
import type { MemoryRegion } from './protocol/ops.ts';
import { MEM_SLOTS } from './protocol/wire.ts';

/** Maximum memory of a guest, GiB: each GiB takes 10 GiB of the 128 TiB of address space. */
const MEMORY_GIB_MAX = 256;
const GIB = 2 ** 30;

/** A piece of guest memory that is contiguous in this process. */
export interface MappedRegion {
  readonly guestAddress: number;
  readonly userAddress: number;
  readonly bytes: number;
  readonly view: Uint8Array;
}

interface Mapped {
  readonly region: MemoryRegion;
  readonly pieces: readonly FileMemory[];
}

const refuse = (what: string): SwapError => new SwapError('ERR_PEER_PROTOCOL', what);
const named = ({ guestAddress, bytes }: MemoryRegion): string =>
  `the region of ${bytes} bytes at 0x${guestAddress.toString(16)}`;
const meet = (a: number, aBytes: number, b: number, bBytes: number): boolean =>
  a < b + bBytes && b < a + aBytes;

export class MemoryTable {
  readonly #linux: Linux;
  #mapped: readonly Mapped[] = [];

  constructor(linux: Linux) {
    this.#linux = linux;
  }

  /** In ascending order of the guest address within a region. */
  get regions(): readonly MappedRegion[] {
    return this.#mapped.flatMap(({ region, pieces }) =>
      pieces.map(({ bytes }, i) => ({
        guestAddress: region.guestAddress + i * PIECE_BYTES_MAX,
        userAddress: region.userAddress + i * PIECE_BYTES_MAX,
        bytes: bytes.length,
        view: bytes,
      })),
    );
  }

  /** Replaces all regions. @throws SwapError ERR_PEER_PROTOCOL, ERR_IO_SYSTEM, ERR_IO_UNSUPPORTED */
  set(regions: readonly MemoryRegion[], fds: readonly number[]): void {
    const added: Mapped[] = [];
    try {
      for (const [i, region] of regions.entries()) {
        this.#check(region, added);
        added.push(this.#map(region, fds[i]!));
      }
    } catch (error) {
      for (const each of added) unmap(each);
      throw error;
    } finally {
      for (const fd of fds) this.#linux.closeReceived(fd);
    }
    const before = this.#mapped;
    this.#mapped = added;
    for (const each of before) unmap(each);
  }

  /** Adds a region. @throws as set() */
  add(region: MemoryRegion, fd: number): void {
    try {
      this.#check(region, this.#mapped);
      this.#mapped = [...this.#mapped, this.#map(region, fd)];
    } finally {
      this.#linux.closeReceived(fd);
    }
  }

  /** Removes a region. @throws SwapError ERR_PEER_PROTOCOL: there is no such region */
  remove({ guestAddress, userAddress, bytes }: MemoryRegion): void {
    const found = this.#mapped.find(
      ({ region }) =>
        region.guestAddress === guestAddress &&
        region.userAddress === userAddress &&
        region.bytes === bytes,
    );
    if (found === undefined)
      throw refuse(`there is no region of ${bytes} bytes at 0x${guestAddress.toString(16)}`);
    this.#mapped = this.#mapped.filter((each) => each !== found);
    unmap(found);
  }

  clear(): void {
    for (const each of this.#mapped) unmap(each);
    this.#mapped = [];
  }

  #check(region: MemoryRegion, others: readonly Mapped[]): void {
    const { guestAddress, userAddress, bytes, position } = region;
    const ends = [guestAddress + bytes, userAddress + bytes, position + bytes];
    if (bytes === 0 || !ends.every(Number.isSafeInteger))
      throw refuse(`${named(region)} is empty or ends at 2^53 or above`);
    if (others.length >= MEM_SLOTS) throw refuse(`the guest already has ${MEM_SLOTS} regions`);
    for (const { region: other } of others)
      if (
        meet(guestAddress, bytes, other.guestAddress, other.bytes) ||
        meet(userAddress, bytes, other.userAddress, other.bytes)
      )
        throw refuse(`${named(region)} overlaps ${named(other)}`);
    const gib = [...others.map((each) => each.region), region].reduce(
      (sum, each) => sum + Math.ceil(each.bytes / GIB),
      0,
    );
    if (gib > MEMORY_GIB_MAX)
      throw refuse(`the guest has more than ${MEMORY_GIB_MAX} GiB of memory, which is the maximum`);
  }

  #map(region: MemoryRegion, fd: number): Mapped {
    const { bytes, position } = region;
    const why = whyUnsafe(this.#linux, fd, position, bytes);
    if (why !== null) throw refuse(`${named(region)}: ${why}`);
    const pieces: FileMemory[] = [];
    try {
      for (let at = 0; at < bytes; at += PIECE_BYTES_MAX)
        pieces.push(
          new FileMemory(this.#linux, fd, position + at, Math.min(PIECE_BYTES_MAX, bytes - at)),
        );
    } catch (error) {
      for (const piece of pieces) piece.unmap();
      throw error;
    }
    return { region, pieces };
  }
}

function unmap({ pieces }: Mapped): void {
  for (const piece of pieces) piece.unmap();
}
