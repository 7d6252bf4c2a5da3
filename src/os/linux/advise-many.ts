/**
 * The same advice for many ranges in one system call: process_madvise(2) on this process. What it saves is not the calls
 * but the flushes of translations, which other processors must be told of: one for all ranges where the kernel gathers
 * them (6.16), and a virtual machine may pay a hundred microseconds for each.
 *
 * Where the kernel cannot (MADV_DONTNEED on oneself: before 6.13), a madvise(2) for each range.
 *
 * Cost: one call for up to MAX_RANGES; about 1 us a page at 512 scattered pages where 4 to 10 us are paid one by one.
 * Sources: process_madvise(2), pidfd_open(2); mm/madvise.c.
 */
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import type { Advice, Mapping } from './mapping.ts';
import { type Linux, Struct } from './system-call.ts';

/** Ranges of one call; the kernel's own bound is 1024 (UIO_MAXIOV). */
export const MAX_RANGES = 512;
/** The same number on x86-64 and arm64. */
const PIDFD_OPEN = 434;
const PROCESS_MADVISE = 440;
/** struct iovec. */
const RANGE_BYTES = 16;

export class ManyAdvisor {
  readonly #linux: Linux;
  readonly #mapping: Mapping;
  readonly #call: NativeCall;
  readonly #pidfd: number;
  readonly #ranges: Struct;
  #count = 0;
  #bytes = 0;
  #isAble: boolean;

  constructor(linux: Linux, mapping: Mapping) {
    this.#linux = linux;
    this.#mapping = mapping;
    this.#call = linux.bind(
      'int64_t syscall(int64_t number, int64_t pidfd, uintptr_t ranges, size_t count, int64_t advice, int64_t flags)',
    );
    this.#pidfd = linux.systemCall(PIDFD_OPEN, process.pid, 0, 0);
    this.#isAble = this.#pidfd !== -1;
    this.#ranges = new Struct(linux, MAX_RANGES * RANGE_BYTES);
  }

  /** Ranges that wait for apply(). */
  get count(): number {
    return this.#count;
  }

  /** One more range, which may continue the last; when MAX_RANGES wait, apply() first. */
  add(address: number, bytes: number): void {
    const last = (this.#count - 1) * RANGE_BYTES;
    this.#bytes += bytes;
    if (this.#count > 0 && this.#ranges.get64(last) + this.#ranges.get64(last + 8) === address) {
      this.#ranges.set64(last + 8, this.#ranges.get64(last + 8) + bytes);
      return;
    }
    assert(this.#count < MAX_RANGES, 'there is room for the range');
    this.#ranges.set64(this.#count * RANGE_BYTES, address);
    this.#ranges.set64(this.#count * RANGE_BYTES + 8, bytes);
    this.#count++;
  }

  /**
   * The advice for all ranges that were added, which are forgotten then. It is an order: that it cannot be followed (the
   * memory is locked, mlock(2)) is an error, ERR_IO_SYSTEM.
   */
  apply(advice: Advice): void {
    if (this.#count > 1 && this.#isAble) {
      const { address } = this.#ranges;
      const done = this.#call(PROCESS_MADVISE, this.#pidfd, address, this.#count, advice, 0);
      if (done === this.#bytes) {
        this.#forget();
        return;
      }
      if (done === -1) this.#isAble = false; // what is done is done: giving up twice is giving up
    }
    for (let i = 0; i < this.#count; i++) {
      const address = this.#ranges.get64(i * RANGE_BYTES);
      const bytes = this.#ranges.get64(i * RANGE_BYTES + 8);
      if (!this.#mapping.advise(address, bytes, advice))
        this.#linux.fail('madvise', { address, bytes, advice });
    }
    this.#forget();
  }

  close(): void {
    if (this.#pidfd !== -1) this.#linux.close(this.#pidfd);
  }

  #forget(): void {
    this.#count = 0;
    this.#bytes = 0;
  }
}
