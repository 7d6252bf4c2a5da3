/**
 * A system that takes pages back, for tests: the range reads as zeros afterwards, as after MADV_DONTNEED.
 * It can be told to refuse, and tells a listener what it took.
 */
import assert from 'node:assert/strict';
import type { PageRelease, PageReleaseFactory } from '../../../src/arena/ops.ts';

export class FakeReturns {
  /** Answers left before it refuses; Infinity = never. */
  answersLeft: number = Number.POSITIVE_INFINITY;
  /** Bytes taken back so far. */
  takenBytes = 0;
  calls = 0;
  refusals = 0;
  onTake: (at: number, length: number) => void = () => {};

  get isLimited(): boolean {
    return this.answersLeft !== Number.POSITIVE_INFINITY;
  }

  readonly factory: PageReleaseFactory = (memory) => this.over(new Uint8Array(memory.buffer));

  over(all: Uint8Array): PageRelease {
    return {
      release: (at, length) => {
        assert.ok(at % 4096 === 0 && length % 4096 === 0 && length > 0, 'page-aligned');
        assert.ok(at > 0 && at + length <= all.length, 'inside the memory');
        this.calls++;
        if (this.answersLeft <= 0) {
          this.refusals++;
          return false;
        }
        this.answersLeft--;
        all.fill(0, at, at + length);
        this.takenBytes += length;
        this.onTake(at, length);
        return true;
      },
    };
  }
}
