/**
 * Assembles a message from the data of a stream socket: any number of bytes at a time, some of them with descriptors.
 *
 *   wanted ─▶ receive that many into bytes[have ..] ─▶ took() ─ true ─▶ a complete message ─▶ clear()
 *
 * It never requests bytes past the end of the message, so all descriptors belong to this message. A message that breaks a rule
 * of wire.ts is refused as soon as its header is complete.
 *
 * Invariant: the descriptors in `fds` belong to the owner of the reader, even if took() throws.
 */
import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import {
  Flag,
  HEADER_BYTES,
  Header,
  PAYLOAD_BYTES_MAX,
  type Rule,
  rules,
  VERSION,
} from './wire.ts';

export const malformed = (what: string): SwapError => new SwapError('ERR_PEER_PROTOCOL', what);

export class MessageReader {
  readonly bytes: Uint8Array = new Uint8Array(HEADER_BYTES + PAYLOAD_BYTES_MAX);
  have = 0;
  readonly fds: number[] = [];
  readonly #view = new DataView(this.bytes.buffer);
  #total = HEADER_BYTES;

  get request(): number {
    return this.#view.getUint32(Header.request, true);
  }

  get flags(): number {
    return this.#view.getUint32(Header.flags, true);
  }

  get payload(): DataView {
    return new DataView(this.bytes.buffer, HEADER_BYTES, this.#total - HEADER_BYTES);
  }

  /** Bytes to receive next, at least 1. */
  get wanted(): number {
    return this.#total - this.have;
  }

  /**
   * Call when `count` bytes, at most `wanted`, were received into `bytes`, with descriptors.
   * @returns whether the message is complete
   * @throws SwapError ERR_PEER_PROTOCOL
   */
  took(count: number, fds: readonly number[], isTruncated: boolean): boolean {
    assert(count > 0 && count <= this.wanted, '0 < count <= wanted');
    this.fds.push(...fds);
    if (isTruncated) throw malformed('a message has too many descriptors');
    const before = this.have;
    this.have += count;
    if (this.have < HEADER_BYTES) return false;
    if (before < HEADER_BYTES) this.#total = HEADER_BYTES + this.#checkedSize();
    const { name, fdsMax } = this.rule;
    if (this.fds.length > fdsMax)
      throw malformed(`${name} has ${this.fds.length} descriptors, not at most ${fdsMax}`);
    return this.have === this.#total;
  }

  /** Checks the message when its header is complete, and returns its rule. */
  get rule(): Rule {
    const found = rules[this.request];
    if (found !== undefined) return found;
    throw malformed(`request ${this.request} is not supported`);
  }

  /** Begins the next message. The caller must have taken or closed the descriptors. */
  clear(): void {
    assert(this.fds.length === 0, 'the descriptors have an owner');
    this.have = 0;
    this.#total = HEADER_BYTES;
  }

  #checkedSize(): number {
    const { flags } = this;
    if ((flags & Flag.versionMask) !== VERSION)
      throw malformed(`a message has version ${flags & Flag.versionMask}, not ${VERSION}`);
    const { name, sizeMin, sizeMax } = this.rule;
    if ((flags & Flag.reply) !== 0) throw malformed(`${name} has the flag of a reply`);
    const size = this.#view.getUint32(Header.size, true);
    if (size >= sizeMin && size <= sizeMax) return size;
    const range = sizeMin === sizeMax ? `${sizeMin}` : `${sizeMin} to ${sizeMax}`;
    throw malformed(`${name} has ${size} bytes of payload, not ${range}`);
  }
}
