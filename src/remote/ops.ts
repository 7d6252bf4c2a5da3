/**
 * What the remote tier needs from whoever is around it: a way to the other machine (os/ has one over sockets), and the
 * store before it, which keeps pages packed (the page store's backend is one).
 */
import type { PageFormat } from '../codec/codec.ts';
import type { FrontswapBackend } from '../frontswap/ops.ts';

/** An open, blocking connection that works in one memory. */
export interface Stream extends Disposable {
  /**
   * Sends of memory[at .. at + length) what is taken within the time: 1 .. length bytes; 0 when the other side is gone,
   * -1 when nothing was taken in time. Any other failure is a SwapError.
   */
  send(at: number, length: number, timeoutMs: number): number;
  /** Bytes that came to memory[at ..], 1 .. room; 0 when the other side has closed, -1 when nothing came in time. */
  receive(at: number, room: number, timeoutMs: number): number;
}

/** Opens a connection that works in `memory`. Throws a SwapError when there is none within the time. */
export type OpenStream = (memory: Uint8Array, timeoutMs: number) => Stream;

/** The tier before this one: a frontswap backend whose packed pages can be taken out and put in as they are. */
export interface LocalPages extends FrontswapBackend {
  /** How the page is stored; `none` when it is not. */
  formatOf(type: number, offset: number): PageFormat;
  /** Bytes of the page when it is stored packed; 0 when it is stored in another way, or not at all. */
  packedBytes(type: number, offset: number): number;
  /** Copies the packed bytes to target[at ..]; how many, or -1 when they are damaged. */
  readPacked(type: number, offset: number, target: Uint8Array, at: number): number;
  /** Keeps packed bytes of `format`, or refuses; the slot holds nothing when this is called. */
  storePacked(
    type: number,
    offset: number,
    format: PageFormat,
    source: Uint8Array,
    at: number,
    length: number,
  ): boolean;
}
