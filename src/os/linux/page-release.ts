/**
 * Releases pages of a WebAssembly memory to the system: madvise(2) with MADV_DONTNEED on anonymous memory. The pages
 * then read as zeros and use no RAM until they are written again. Node itself can release neither a WebAssembly memory
 * nor part of an ArrayBuffer.
 *
 * Several ranges are released by one process_madvise(2) of this process, which flushes the TLB once. A kernel that does not
 * support that (PIDFD_SELF, before Linux 6.15) gets a madvise(2) for each range.
 *
 * Cost: one system call, about 2 us for one page, 0.1 to 0.2 us per page in runs of 32. One heap number per call.
 */
import { keepPages, type PageRelease, type PageReleaseFactory } from '../../arena/ops.ts';
import { BATCH_RANGES } from '../../arena/release-batch.ts';
import { assert } from '../../base/assert.ts';
import type { LinearMemory } from '../../codec/linear-memory.ts';
import { type LibC, loadLibC } from './libc.ts';
import { loadLinux, Struct } from './system-call.ts';

/** asm-generic/mman-common.h; the same number on every Linux architecture. */
const MADV_DONTNEED = 4;
const MADV_NOHUGEPAGE = 15;
/** The same number on x86-64 and arm64. */
const PROCESS_MADVISE = 440;
/** include/uapi/linux/pidfd.h: the calling thread, without a descriptor. */
const PIDFD_SELF = -10000;
/** struct iovec. */
const RANGE_BYTES = 16;

type Madvise = (address: number, length: number, advice: number) => number;

/** Page release of this system; keepPages if there is none (not Linux, no FFI). */
export function systemPageRelease(platform: NodeJS.Platform): PageReleaseFactory {
  const libc = loadLibC(platform);
  if (libc === null) return keepPages;
  const madvise = libc.bind('int madvise(uintptr_t addr, size_t length, int advice)') as Madvise;
  const releaseAt = rangesRelease(libc, platform, madvise);
  return (memory: LinearMemory): PageRelease => {
    // A WebAssembly memory does not move, and user addresses are below 2^47. The view keeps the memory from being collected
    // while the address is in use.
    const bytes = new Uint8Array(memory.buffer);
    const base = libc.addressOf(bytes);
    // Otherwise khugepaged would fill the released pages again if huge pages are always enabled.
    madvise(base, bytes.length, MADV_NOHUGEPAGE);
    return {
      release(at, length) {
        assert(at >= 0 && at + length <= bytes.length, 'at + length <= memory length');
        return madvise(base + at, length, MADV_DONTNEED) === 0;
      },
      releaseRanges(ranges, count) {
        assert(count <= BATCH_RANGES && 2 * count <= ranges.length, 'count <= BATCH_RANGES');
        for (let i = 0; i < 2 * count; i += 2)
          assert(ranges[i]! + ranges[i + 1]! <= bytes.length, 'at + length <= memory length');
        return releaseAt(base, ranges, count);
      },
    };
  };
}

/** Releases ranges of the memory at `base`. */
type RangesRelease = (base: number, ranges: Uint32Array, count: number) => boolean;

function rangesRelease(libc: LibC, platform: NodeJS.Platform, madvise: Madvise): RangesRelease {
  const oneByOne: RangesRelease = (base, ranges, count) => {
    for (let i = 0; i < 2 * count; i += 2)
      if (madvise(base + ranges[i]!, ranges[i + 1]!, MADV_DONTNEED) !== 0) return false;
    return true;
  };
  const { linux } = loadLinux(platform);
  if (linux === null) return oneByOne; // another architecture: its struct iovec may differ
  const processMadvise = libc.bind(
    'int64_t syscall(int64_t number, int64_t pidfd, uintptr_t ranges, size_t count, int64_t advice, int64_t flags)',
  );
  const table = new Struct(linux, BATCH_RANGES * RANGE_BYTES);
  let isSupported = true;
  return (base, ranges, count) => {
    let total = 0;
    for (let i = 0; i < count; i++) {
      table.set64(i * RANGE_BYTES, base + ranges[2 * i]!);
      table.set64(i * RANGE_BYTES + 8, ranges[2 * i + 1]!);
      total += ranges[2 * i + 1]!;
    }
    const { address } = table;
    const done = isSupported
      ? processMadvise(PROCESS_MADVISE, PIDFD_SELF, address, count, MADV_DONTNEED, 0)
      : -1;
    if (done === total) return true;
    if (done === -1) isSupported = false; // ranges that are already released may be released again
    return oneByOne(base, ranges, count);
  };
}
