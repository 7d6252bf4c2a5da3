/**
 * ArrayBuffers that are paged in place. V8 allocates the bytes with calloc(3), so a buffer starts and ends inside a
 * page; only the complete pages in between are paged.
 *
 *   malloc chunk   ┊ header ┊ head ┊ page ┊ page ┊ … ┊ page ┊ tail ┊
 *                            └──────────── the buffer ────────────┘
 *
 * The buffer remains the program's object: `instanceof`, resizing a view, cloning and transferring work as before.
 *
 * Sources: V8, src/objects/backing-store.cc; Node, src/node_buffer.cc (the allocator); malloc(3).
 */
import { types } from 'node:util';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { mappedRanges } from '../os/linux/proc-maps.ts';
import { unseenTransfers } from './buffer-transfers.ts';
import type { FaultsMode } from './memory-swap.ts';
import { bytesOfBuffer, isResizable } from './native-getters.ts';

/** Smallest buffer that `register` pages, bytes: a region costs tables, some system calls and two lines of /proc/self/maps. */
export const BUFFER_BYTES_MIN: number = 2 ** 20;

/** The complete pages of a buffer. */
export interface BufferPages {
  readonly address: number;
  readonly bytes: number;
  /** Bytes of the buffer in front of the first page. */
  readonly headBytes: number;
}

/** Whether adopt() treats the value as a buffer, and not as a WebAssembly memory. */
export const isBuffer = (value: unknown): value is ArrayBufferLike => types.isAnyArrayBuffer(value);

/**
 * Returns the pages of a buffer.
 * @param address of its first byte
 * @param faults who serves its faults
 * @throws SwapError ERR_ARG_VALUE: no complete page; ERR_IO_UNSUPPORTED: there is no userfaultfd, or the buffer is shared,
 * resizable, of another realm, not allocated by V8, or its transfer would not be seen
 */
export function bufferPages(
  buffer: ArrayBufferLike,
  address: number,
  faults: FaultsMode,
): BufferPages {
  // malloc(3) may reuse the addresses, and other code would then get shared memory.
  if (faults === 'memfd')
    throw unsupported('a buffer without userfaultfd', 'use the buffer of map() instead');
  if (types.isSharedArrayBuffer(buffer))
    throw unsupported('a SharedArrayBuffer', 'use the buffer of map({ shared: true }) instead');
  if (!(buffer instanceof ArrayBuffer))
    throw unsupported('an ArrayBuffer of another context', 'adopt it where it was created');
  if (isResizable(buffer)) throw unsupported('a resizable ArrayBuffer', 'use one of fixed length');
  const [unseen] = unseenTransfers();
  if (unseen !== undefined)
    throw unsupported(
      `a buffer while ${unseen}() is frozen`,
      'call openSwap(), or load frontswap/register, before the program freezes it',
    );
  const size = bytesOfBuffer(buffer);
  const first = Math.ceil(address / PAGE_BYTES) * PAGE_BYTES;
  const end = Math.floor((address + size) / PAGE_BYTES) * PAGE_BYTES;
  if (end <= first)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `adopt(buffer): the buffer of ${size} bytes contains no complete page; pass a buffer of at least ${2 * PAGE_BYTES} bytes`,
      { bytes: size },
    );
  if (!isPrivateMemory(address, size))
    throw unsupported(
      'a buffer that V8 did not allocate',
      'adopt the WebAssembly memory itself, or copy the bytes to a new ArrayBuffer',
    );
  return { address: first, bytes: end - first, headBytes: first - address };
}

/**
 * Whether the range is private anonymous memory, readable and writable, with a mapped byte in front: malloc() puts a
 * header before each chunk, but the memory of WebAssembly and of most addons starts a mapping.
 */
function isPrivateMemory(address: number, bytes: number): boolean {
  let end = address - 1;
  for (const range of mappedRanges(address - 1, bytes + 1)) {
    if (range.start > end || range.inode !== 0 || range.permissions !== 'rw-p') return false;
    end = range.end;
  }
  return end >= address + bytes;
}

function unsupported(what: string, advice: string): SwapError {
  return new SwapError('ERR_IO_UNSUPPORTED', `adopt(buffer): ${what} cannot be paged; ${advice}`, {
    reason: 'buffer',
  });
}
