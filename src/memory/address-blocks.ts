/**
 * The 4 GiB blocks of the address space that contain a part of a region. A lookup is O(1); it is also true for addresses
 * outside a region that share a block with it.
 */
export class AddressBlocks {
  readonly #spans = new Map<number, readonly [number, number]>();
  readonly #counts = new Map<number, number>();

  add(id: number, address: number, bytes: number): void {
    this.#spans.set(id, [blockOf(address), blockOf(address + bytes - 1)]);
    this.#count(id, 1);
  }

  remove(id: number): void {
    this.#count(id, -1);
    this.#spans.delete(id);
  }

  clear(): void {
    this.#spans.clear();
    this.#counts.clear();
  }

  has(address: number): boolean {
    return this.#counts.has(blockOf(address));
  }

  #count(id: number, change: number): void {
    const [first, last] = this.#spans.get(id) ?? [0, -1];
    for (let block = first; block <= last; block++) {
      const count = (this.#counts.get(block) ?? 0) + change;
      if (count === 0) this.#counts.delete(block);
      else this.#counts.set(block, count);
    }
  }
}

const blockOf = (address: number): number => Math.floor(address / 2 ** 32);
