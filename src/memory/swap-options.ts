/** Options of openSwap() and map(), checked and converted. */
import { SwapError } from '../base/errors.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { SET_PAGES_MIN } from '../pager/resident-set.ts';
import type { DeviceOptions } from './swap-file.ts';

/** @throws SwapError ERR_ARG_VALUE */
export function residentPages(bytes: number): number {
  const pages = Math.floor(bytes / PAGE_BYTES);
  if (!Number.isSafeInteger(pages) || pages < SET_PAGES_MIN)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `residentBytes ${bytes}: at least ${SET_PAGES_MIN * PAGE_BYTES} are needed to page at all`,
      { residentBytes: bytes },
    );
  return pages;
}

/**
 * The size of a region, bytes, rounded up to pages.
 * @param bytesMax the largest buffer of this Node
 * @throws SwapError ERR_ARG_VALUE
 */
export function regionBytes(bytes: number, bytesMax: number): number {
  if (!Number.isSafeInteger(bytes) || bytes < 1)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `map(options): bytes is ${bytes}; pass a whole number from 1`,
      { bytes },
    );
  if (bytes > bytesMax)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `map(options): bytes is ${bytes}, but a buffer of Node ${process.version} has at most ${bytesMax}; map several regions, or use Node 22 or later`,
      { bytes, bytesMax },
    );
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

/** @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN */
export function checkDevice(device: DeviceOptions): DeviceOptions {
  checkOptions(device, 'openSwap({ devices: [device] })', [
    'kind',
    'path',
    'sizeBytes',
    'priority',
    'discard',
    'keep',
  ]);
  const { kind, path, sizeBytes, priority } = device;
  if (kind !== 'file') throw new SwapError('ERR_ARG_VALUE', `device kind '${kind}' is not 'file'`);
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 10 * PAGE_BYTES || sizeBytes % PAGE_BYTES)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${path}: sizeBytes ${sizeBytes} is not a multiple of 4096, at least 40960`,
      { path, sizeBytes },
    );
  if (priority !== undefined && !(Number.isInteger(priority) && priority >= 0 && priority < 32767))
    throw new SwapError('ERR_ARG_VALUE', `${path}: priority ${priority} is not 0 .. 32766`);
  return device;
}
