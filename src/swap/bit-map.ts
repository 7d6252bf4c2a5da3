/** A bit a slot. Cost: one byte read or written; 128 KiB for 4 GiB of swap. */
export class BitMap {
  readonly #bytes: Uint8Array;

  constructor(bits: number) {
    this.#bytes = new Uint8Array(Math.ceil(bits / 8));
  }

  has(bit: number): boolean {
    return (this.#bytes[bit >>> 3]! & (1 << (bit & 7))) !== 0;
  }

  set(bit: number): void {
    this.#bytes[bit >>> 3]! |= 1 << (bit & 7);
  }

  clear(bit: number): void {
    this.#bytes[bit >>> 3]! &= ~(1 << (bit & 7));
  }

  clearRange(start: number, length: number): void {
    for (let bit = start; bit < start + length; bit++) this.clear(bit);
  }

  hasAny(start: number, length: number): boolean {
    for (let bit = start; bit < start + length; bit++) if (this.has(bit)) return true;
    return false;
  }
}
