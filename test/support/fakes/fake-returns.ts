/**
 * A fake of the system call that releases pages: the range reads as zeros afterwards, as after MADV_DONTNEED.
 * Tests can make it refuse, and observe each released range.
 */
import assert from 'node:assert/strict';
import type { PageRelease, PageReleaseFactory } from '../../../src/arena/ops.ts';

export class FakeReturns {
  /** Calls that succeed before it refuses; Infinity: it never refuses. */
  callsUntilRefusal: number = Number.POSITIVE_INFINITY;
  /** Bytes released so far. */
  releasedBytes = 0;
  calls = 0;
  /** Calls that release several ranges. */
  groupCalls = 0;
  /** The last call succeeded, or there was none. */
  isReleasing = true;
  refusals = 0;
  onRelease: (at: number, length: number) => void = () => {};

  get isLimited(): boolean {
    return this.callsUntilRefusal !== Number.POSITIVE_INFINITY;
  }

  readonly factory: PageReleaseFactory = (memory) => this.over(new Uint8Array(memory.buffer));

  over(all: Uint8Array): PageRelease {
    const release: PageRelease['release'] = (at, length) => {
      assert.ok(at % 4096 === 0 && length % 4096 === 0 && length > 0, 'page-aligned');
      assert.ok(at > 0 && at + length <= all.length, 'inside the memory');
      this.calls++;
      this.isReleasing = this.callsUntilRefusal > 0;
      if (!this.isReleasing) {
        this.refusals++;
        return false;
      }
      this.callsUntilRefusal--;
      all.fill(0, at, at + length);
      this.releasedBytes += length;
      this.onRelease(at, length);
      return true;
    };
    return {
      release,
      releaseRanges: (ranges, count) => {
        this.groupCalls++;
        for (let i = 0; i < 2 * count; i += 2)
          if (!release(ranges[i]!, ranges[i + 1]!)) return false;
        return true;
      },
    };
  }
}
