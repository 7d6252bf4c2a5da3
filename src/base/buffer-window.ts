/** A window of a buffer that a writer fills from its start: the common base of the protocol writers. */
import { assert } from './assert.ts';

export class BufferWindow {
  readonly bytes: Uint8Array;
  readonly #from: number;
  readonly #end: number;
  #at: number;

  /** Writes to bytes[from .. end). */
  constructor(bytes: Uint8Array, from: number, end: number) {
    assert(from >= 0 && from <= end && end <= bytes.length, 'the window is inside its buffer');
    this.bytes = bytes;
    this.#from = from;
    this.#end = end;
    this.#at = from;
  }

  /** Position of the next byte. */
  get at(): number {
    return this.#at;
  }

  get writtenBytes(): number {
    return this.#at - this.#from;
  }

  get freeBytes(): number {
    return this.#end - this.#at;
  }

  /** Removes all bytes. */
  clear(): void {
    this.#at = this.#from;
  }

  /** Removes all bytes from position `at` on. */
  rewind(at: number): void {
    assert(at >= this.#from && at <= this.#at, 'at is a position that has been written');
    this.#at = at;
  }

  /** Appends `length` bytes that the caller fills; returns their position. */
  protected take(length: number): number {
    const at = this.#at;
    assert(length <= this.#end - at, 'the message fits its window');
    this.#at = at + length;
    return at;
  }
}
