/**
 * The FRONTSWAP_ variables of a process under frontswap/register.
 *
 *   FRONTSWAP_RESIDENT   resident budget of all memories together
 *   FRONTSWAP_LIMIT      limit of compressed pages; default: half of the memory
 *   FRONTSWAP_FILE       a swap file for pages that do not fit, and its size: /path/to/file:4G
 *   FRONTSWAP_SAME_CORE  1: the main thread and the fault thread share a processor (OpenSwapOptions.sameCore)
 *   FRONTSWAP_FAULTS     who serves page faults: thread (the default where native code loads), signal, memfd or javascript
 *                        (read by openSwap())
 *   FRONTSWAP_SHARED     0: shared memories are not paged; 1: they are, even if JavaScript serves faults: a thread that
 *                        waits in one (Atomics.wait) may then hang. Default: if native code serves faults, those of system
 *                        calls included, the first 16 are
 *   FRONTSWAP_BUFFERS    also pages new ArrayBuffers and typed arrays of at least this size (watch-buffers.ts)
 *   FRONTSWAP_DISCARD    1: adds WebAssembly.Memory.prototype.discard() (memory-discard.ts)
 *   FRONTSWAP_WORKERS    1: also pages the memories of worker threads (process-threads.ts)
 *   FRONTSWAP_STRICT     1: ends the process if nothing can be paged, instead of running it unpaged
 *   FRONTSWAP_STATS      1: prints a line of statistics on stderr at exit; a duration such as 1s: also a line per interval
 *   FRONTSWAP_REPORT     writes the memory, faults and stalls of the run at exit: FILE.html or FILE.json
 */
import { SwapError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { formatSize, parseSize } from '../base/size.ts';
import { BUFFER_BYTES_MIN } from './array-buffer.ts';
import type { OpenSwapOptions } from './open-swap.ts';
import type { DeviceOptions } from './swap-file.ts';

export interface ProcessSettings {
  readonly swap: OpenSwapOptions;
  /** Size of the smallest ArrayBuffer that is paged, bytes; null: ArrayBuffers are not paged. */
  readonly bufferBytesMin: number | null;
  /** Null: pages shared memories if native code serves faults. */
  readonly pagesShared: boolean | null;
  readonly pagesWorkers: boolean;
  readonly addsDiscard: boolean;
}

const PREFIX = 'FRONTSWAP_';

const names = [
  'RESIDENT',
  'LIMIT',
  'FILE',
  'SAME_CORE',
  'FAULTS',
  'SHARED',
  'WORKERS',
  'BUFFERS',
  'DISCARD',
  'STRICT',
  'STATS',
  'REPORT',
];
/** Variables that frontswap itself sets, and variables of its commands. */
const otherNames = ['REPORT_PID', 'CONTROL', 'RECORD'];

/** @throws SwapError ERR_ARG_VALUE: an unusable value */
export function settingsOf(env: NodeJS.ProcessEnv, resident: string): ProcessSettings {
  const limit = env['FRONTSWAP_LIMIT'];
  const file = env['FRONTSWAP_FILE'];
  const buffers = env['FRONTSWAP_BUFFERS'];
  return {
    swap: {
      residentBytes: parseSize('FRONTSWAP_RESIDENT', resident),
      frontswap: limit === undefined ? {} : { limitBytes: parseSize('FRONTSWAP_LIMIT', limit) },
      devices: file === undefined ? [] : [swapFile(file)],
      sameCore: isOn(env, 'FRONTSWAP_SAME_CORE'),
    },
    bufferBytesMin: buffers === undefined ? null : bufferBytes(buffers),
    pagesShared: (env['FRONTSWAP_SHARED'] ?? '') === '' ? null : isOn(env, 'FRONTSWAP_SHARED'),
    pagesWorkers: isOn(env, 'FRONTSWAP_WORKERS'),
    addsDiscard: isOn(env, 'FRONTSWAP_DISCARD'),
  };
}

/** A switch: 1 is on; 0, empty and unset are off. @throws SwapError ERR_ARG_VALUE: anything else */
export function isOn(env: NodeJS.ProcessEnv, name: string): boolean {
  const text = env[name];
  if (text === undefined || text === '' || text === '0') return false;
  if (text === '1') return true;
  throw new SwapError('ERR_ARG_VALUE', `${name} is '${text}'; set it to 1, or unset it`, {
    key: name,
    value: text,
  });
}

/**
 * Warnings about misspelt variables: no setting has that name, but one has a similar name. Other FRONTSWAP_ names belong to the
 * program.
 */
export function misspelt(env: NodeJS.ProcessEnv): string[] {
  const warnings: string[] = [];
  for (const key of Object.keys(env)) {
    const name = key.slice(PREFIX.length);
    if (!key.startsWith(PREFIX) || names.includes(name) || otherNames.includes(name)) continue;
    const meant = nearest(name, names);
    if (meant !== null)
      warnings.push(`unknown variable ${key} has no effect; did you mean ${PREFIX}${meant}?`);
  }
  return warnings;
}

function swapFile(text: string): DeviceOptions {
  const colon = text.lastIndexOf(':');
  const path = colon === -1 ? text : text.slice(0, colon);
  return { kind: 'file', path, sizeBytes: parseSize('FRONTSWAP_FILE', text.slice(colon + 1)) };
}

function bufferBytes(text: string): number {
  const bytes = parseSize('FRONTSWAP_BUFFERS', text);
  if (bytes >= BUFFER_BYTES_MIN) return bytes;
  throw new SwapError(
    'ERR_ARG_VALUE',
    `FRONTSWAP_BUFFERS is '${text}'; pass at least ${formatSize(BUFFER_BYTES_MIN)}`,
    { key: 'FRONTSWAP_BUFFERS', value: text },
  );
}
