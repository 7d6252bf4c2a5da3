/** Checks and converts the arguments of openSwap(), map(), adopt(), joinSwap() and attachRegion(). */
import { SwapError } from '../base/errors.ts';
import { checkInteger, checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { SET_PAGES_MIN } from '../pager/resident-set.ts';
import { CONTROL_BYTES, FaultPath } from './control-block.ts';
import type { EngineOptions } from './engine-options.ts';
import type { FaultsMode } from './memory-swap.ts';
import type { DeviceOptions } from './swap-file.ts';
import { type WasmMemory, wasmBuffer } from './wasm-reserve.ts';

/** The kernel's minimum for mkswap(8): ten pages. */
const DEVICE_BYTES_MIN = 10 * PAGE_BYTES;
/** Compressed RAM has the next higher priority, 32767. */
const PRIORITY_MAX = 32_766;

/** The pages of a resident budget, rounded down. @throws SwapError ERR_ARG_VALUE */
export function residentPages(bytes: number): number {
  const pages = Math.floor(bytes / PAGE_BYTES);
  if (!Number.isSafeInteger(pages) || pages < SET_PAGES_MIN)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `residentBytes is ${bytes}; pass at least ${SET_PAGES_MIN * PAGE_BYTES}`,
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
export function checkDevices(devices: readonly DeviceOptions[]): readonly DeviceOptions[] {
  if (!Array.isArray(devices))
    throw new SwapError(
      'ERR_ARG_VALUE',
      'openSwap({ devices }) is not an array; pass an array of devices',
    );
  for (const device of devices) checkDevice(device);
  return devices;
}

function checkDevice(device: DeviceOptions): void {
  checkOptions(device, 'openSwap({ devices: [device] })', [
    'kind',
    'path',
    'sizeBytes',
    'priority',
    'discard',
    'keep',
  ]);
  const { kind, path, sizeBytes, priority } = device;
  if (kind !== 'file')
    throw new SwapError('ERR_ARG_VALUE', `device: kind is '${kind}'; the only kind is 'file'`);
  if (typeof path !== 'string' || path === '')
    throw new SwapError('ERR_ARG_VALUE', 'device: path is missing; pass the path of the swap file');
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < DEVICE_BYTES_MIN || sizeBytes % PAGE_BYTES)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `device ${path}: sizeBytes is ${sizeBytes}; pass a multiple of 4096, at least ${DEVICE_BYTES_MIN}`,
      { path, sizeBytes },
    );
  if (priority !== undefined)
    checkInteger(`device ${path}`, 'priority', priority, { min: 0, max: PRIORITY_MAX });
}

/** The buffer of an adopted memory. @throws SwapError ERR_ARG_VALUE: not a WebAssembly.Memory */
export function checkMemory(memory: WasmMemory): ArrayBuffer | SharedArrayBuffer {
  try {
    return wasmBuffer(memory);
  } catch (cause) {
    const message =
      'adopt(memory): memory is neither a WebAssembly.Memory nor an ArrayBuffer; pass one';
    throw new SwapError('ERR_ARG_VALUE', message, {}, { cause });
  }
}

/** @throws SwapError ERR_ARG_VALUE: not the control block of a swap */
export function checkControl(control: unknown, what: string, source: string): void {
  if (control instanceof SharedArrayBuffer && control.byteLength === CONTROL_BYTES) return;
  throw new SwapError('ERR_ARG_VALUE', `${what} is not that of a swap; pass the ${source}`);
}

const pathOf: Readonly<Record<FaultsMode, FaultPath>> = FaultPath;

/** The tmem socket as an option of the tiers. @throws SwapError ERR_ARG_VALUE */
export function tmemOf(path: string | undefined): Pick<EngineOptions, 'tmem'> {
  if (path === undefined) return {};
  if (typeof path === 'string' && path !== '') return { tmem: path };
  throw new SwapError('ERR_ARG_VALUE', 'frontswap.tmem is not the path of a tmem socket');
}

/**
 * The option, else the variable, else the default.
 * @param hasTmem a tmem socket takes pages
 * @throws SwapError ERR_ARG_VALUE, ERR_ARG_CONFLICT
 */
export function faultsOf(
  option: FaultsMode | undefined,
  byDefault: FaultsMode,
  hasTmem = false,
): Pick<EngineOptions, 'faults' | 'areFaultsChosen'> {
  // Native code can read only pages of the store: JavaScript serves faults, or nothing is paged.
  if (hasTmem && option !== undefined && option !== 'javascript')
    throw new SwapError(
      'ERR_ARG_CONFLICT',
      `openSwap({ faults: '${option}' }) and frontswap.tmem are mutually exclusive; use faults 'javascript'`,
    );
  if (hasTmem) return { faults: pathOf.javascript, areFaultsChosen: true };
  const variable = process.env['FRONTSWAP_FAULTS'] ?? '';
  const areFaultsChosen = option !== undefined || variable !== '';
  const name = option ?? (variable === '' ? byDefault : variable);
  if (Object.hasOwn(pathOf, name)) return { faults: pathOf[name as FaultsMode], areFaultsChosen };
  const what = option === undefined ? 'FRONTSWAP_FAULTS' : 'openSwap({ faults })';
  throw new SwapError(
    'ERR_ARG_VALUE',
    `${what} is '${String(name)}'; use 'javascript', 'thread', 'signal' or 'memfd'`,
  );
}
