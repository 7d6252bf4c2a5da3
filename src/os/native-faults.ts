/**
 * Binds the native fault path (src/native/faults.c): one library per architecture, which does not use a C library, so it runs
 * on glibc and musl. docs/design/native-faults.md describes it; src/native/layout.ts defines the memory that it shares.
 *
 * `at` is the address of the control block, `pages` and `results` are addresses of arrays. A call costs 60 to 300 ns. The
 * library stays loaded until the process ends, because its code may run on threads that outlive this one.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Koffi, loadKoffi, type NativeCall } from './koffi.ts';

/** dlopen(3): RTLD_NOW | RTLD_NODELETE; the same numbers in glibc and musl. */
const KEEP_LOADED = 0x1002;

/** The result of an engine's call for each page. */
export const NativeResult = { refused: 0, done: 1, putBack: 2, gone: 3, busy: 4 } as const;
/** How serve() ended. */
export const ServeResult = { served: 0, again: 1, asked: 2, lost: 3 } as const;

export interface NativeFaults {
  readonly offset: NativeCall;
  readonly lz4: NativeCall;
  readonly checksum: NativeCall;
  readonly blockSum: NativeCall;
  readonly planes: NativeCall;
  readonly load: NativeCall;
  readonly serve: NativeCall;
  readonly state: NativeCall;
  readonly bring: NativeCall;
  readonly bury: NativeCall;
  readonly evictBegin: NativeCall;
  readonly evictCommit: NativeCall;
  readonly drop: NativeCall;
  readonly discard: NativeCall;
  readonly install: NativeCall;
  readonly change: NativeCall;
  readonly synchronize: NativeCall;
  readonly guard: NativeCall;
  readonly threadStart: NativeCall;
  readonly signalOn: NativeCall;
  readonly signalOff: NativeCall;
}

export interface LoadedNativeFaults {
  /** Null: the library cannot be used here, and `reason` says why. */
  readonly native: NativeFaults | null;
  readonly reason: string;
}

/** The library file for this platform in the package; null if there is none. */
function libraryFile(platform: NodeJS.Platform, architecture: string): string | null {
  if (platform !== 'linux' || (architecture !== 'x64' && architecture !== 'arm64')) return null;
  return fileURLToPath(new URL(`../native/linux-${architecture}.so`, import.meta.url));
}

/** Loads the library for calls from this thread. */
export function loadNativeFaults(
  platform: NodeJS.Platform = process.platform,
  architecture: string = process.arch,
): LoadedNativeFaults {
  const file = libraryFile(platform, architecture);
  if (file === null) return none(`there is no native library for ${platform}-${architecture}`);
  const flaw = libraryFlaw(file);
  if (flaw !== '') return none(flaw);
  const koffi = loadKoffi();
  if (koffi === null) return none('koffi does not load on this machine');
  try {
    keepLoaded(koffi, file);
    return { native: bind(koffi.load(file)), reason: '' };
  } catch (error) {
    return none(error instanceof Error ? error.message : String(error));
  }
}

/** Header of an ELF file of 64 bits: position, number and size of the section headers, which are at its end. elf(5) */
const Elf = { bytes: 64, sectionsAt: 40, sectionBytes: 58, sectionCount: 60 } as const;

/** Why the file cannot be loaded; empty: it seems complete. dlopen(3) of a truncated file ends the process (SIGBUS). */
export function libraryFlaw(file: string): string {
  try {
    const bytes = readFileSync(file);
    const isElf = bytes.length >= Elf.bytes && bytes.readUInt32BE(0) === 0x7f45_4c46;
    const sections = isElf
      ? bytes.readUInt16LE(Elf.sectionBytes) * bytes.readUInt16LE(Elf.sectionCount)
      : 0;
    const end = isElf ? Number(bytes.readBigUInt64LE(Elf.sectionsAt)) + sections : Elf.bytes;
    return isElf && bytes.length >= end
      ? ''
      : `${file} is damaged (${bytes.length} bytes): install frontswap again`;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? `${file} is missing` : `${file} cannot be read: ${code}`;
  }
}

const none = (reason: string): LoadedNativeFaults => ({ native: null, reason });

function keepLoaded(koffi: Koffi, file: string): void {
  const name = new TextEncoder().encode(`${file}\0`);
  const dlopen = koffi.load(null).func('uintptr_t dlopen(uintptr_t file, int mode)');
  if (dlopen(Number(koffi.address(name)), KEEP_LOADED) === 0)
    throw new Error(`the dynamic loader refuses ${file}`);
}

function bind(library: ReturnType<Koffi['load']>): NativeFaults {
  const func = (prototype: string): NativeCall => library.func(prototype);
  func('void fs_init()')();
  return {
    offset: func('int32_t fs_offset(uint32_t i)'),
    lz4: func('int32_t fs_lz4(uintptr_t from, int32_t length, uintptr_t page)'),
    checksum: func('int32_t fs_checksum(uintptr_t from, uint32_t length, int32_t seed)'),
    blockSum: func('uint32_t fs_block_sum(uintptr_t page)'),
    planes: func(
      'int32_t fs_planes(uint32_t filter, uintptr_t from, uintptr_t rows, uintptr_t page)',
    ),
    load: func('int32_t fs_load(uintptr_t at, uint32_t entry, uintptr_t page)'),
    serve: func('int32_t fs_serve(uintptr_t at, uint32_t region, uint32_t page, uint32_t flags)'),
    state: func('uint32_t fs_state(uintptr_t at, uint32_t region, uint32_t page)'),
    bring: func(
      'uint32_t fs_bring(uintptr_t at, uint32_t region, uint32_t from, uint32_t to, int isWritable)',
    ),
    bury: func('void fs_bury(uintptr_t at, uint32_t region)'),
    evictBegin: func(
      'void fs_evict_begin(uintptr_t at, uint32_t region, uintptr_t pages, uint32_t count, uintptr_t results, int maySpan)',
    ),
    evictCommit: func(
      'void fs_evict_commit(uintptr_t at, uint32_t region, uintptr_t pages, uintptr_t entries, uint32_t count, uintptr_t results)',
    ),
    drop: func(
      'uint32_t fs_drop(uintptr_t at, uint32_t region, uintptr_t pages, uint32_t count, uintptr_t results)',
    ),
    discard: func('void fs_discard(uintptr_t at, uint32_t region, uint32_t from, uint32_t to)'),
    install: func(
      'int32_t fs_install(uintptr_t at, uint32_t region, uint32_t page, uintptr_t from, int isWritable)',
    ),
    change: func(
      'int32_t fs_change(uintptr_t at, uint32_t region, uint32_t page, uint32_t from, uint32_t to)',
    ),
    synchronize: func('void fs_synchronize(uintptr_t at)'),
    guard: func('void fs_guard(uintptr_t at)'),
    threadStart: func('uintptr_t fs_thread_start()'),
    signalOn: func('int fs_signal_on(uintptr_t at)'),
    signalOff: func('void fs_signal_off(uintptr_t at)'),
  };
}
