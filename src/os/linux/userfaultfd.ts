/**
 * A userfaultfd: the kernel reports the page faults of a range, one message per fault, while the faulting thread waits.
 *
 *     thread accesses a page ─▶ fault ─▶ message ─▶ readMessages() ─▶ copy / zeroPage / move / ... ─▶ thread continues
 *
 * The serving thread must never access a registered page that may be missing, nor wait for a thread that may do so. The
 * descriptor belongs to the process: any thread may adopt it by number, and several threads may serve it.
 *
 * Every call that resolves faults returns a `ResolveResult` and sets `bytesDone`; the kernel processes pages in order.
 * `again` with bytesDone > 0 is the normal case of a batch that reached an existing page: the call for the rest returns
 * `exists`.
 *
 * Invariants: a call allocates only heap numbers of addresses; the struct and the message buffer are allocated once.
 * Cost: `copy` 1.7 us for one page, 1 us per page in batches; `readMessages` one system call.
 * Left out: blocking reads (see poll.ts; a thread blocked in read(2) would block process.exit()).
 * Sources: userfaultfd(2), ioctl_userfaultfd(2), UFFDIO_MOVE(2const), UFFDIO_POISON(2const); mm/userfaultfd.c and
 * fs/userfaultfd.c where the manual is silent.
 */
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';
import { UffdRequest } from './uffd-constants.ts';

/** Result of an ioctl that resolves faults. */
export const ResolveResult = {
  /** The entire range. */
  done: 0,
  /** EAGAIN: `bytesDone` bytes; then a page could not be resolved, or the address space is changing. Retry the rest. */
  again: 1,
  /** EEXIST: the first page is present. */
  exists: 2,
  /** ENOENT, ESRCH: the range is not mapped and registered, or not as one; for `move`, a hole in the source. */
  gone: 3,
  /** EBUSY: a source page is shared or pinned; copy it instead. */
  busy: 4,
  /** EFAULT of `continue`: the file has no such page. */
  absent: 5,
} as const;
export type ResolveResult = (typeof ResolveResult)[keyof typeof ResolveResult];

/** struct uffd_msg. */
const MESSAGE_BYTES = 32;
/** Maximum messages per read. */
const MESSAGES_MAX = 64;

/** Size of the largest ioctl struct, uffdio_copy and uffdio_move. */
const ARGUMENT_BYTES = 40;

export class Userfaultfd {
  readonly fd: number;
  /** The enabled features; a mask of UffdFeature. */
  readonly features: number;
  readonly #linux: Linux;
  readonly #ioctl: NativeCall;
  readonly #read: NativeCall;
  readonly #argument: Struct;
  readonly #messages: Struct;
  #messageCount = 0;
  #bytesDone = 0;

  /** Adopts an open descriptor with its features set (userfaultfd-open.ts); another thread may have opened it. */
  constructor(linux: Linux, fd: number, features: number) {
    this.fd = fd;
    this.features = features;
    this.#linux = linux;
    this.#ioctl = linux.ioctl;
    this.#read = linux.bind('int64_t read(int fd, uintptr_t buffer, size_t count)');
    this.#argument = new Struct(linux, ARGUMENT_BYTES);
    this.#messages = new Struct(linux, MESSAGES_MAX * MESSAGE_BYTES);
  }

  /** Bytes processed, from the start, by the last call that returned a ResolveResult. */
  get bytesDone(): number {
    return this.#bytesDone;
  }

  /**
   * Registers a range; registering it again changes the modes. UFFDIO_REGISTER.
   * @param modes of UffdMode
   * @returns the ioctls available for the range: bit n is command n of linux/userfaultfd.h
   */
  register(address: number, bytes: number, modes: number): number {
    this.#setRange(address, bytes);
    this.#argument.set64(16, modes);
    this.#argument.set64(24, 0);
    if (this.#ioctl(this.fd, UffdRequest.register, this.#argument.address) !== 0)
      this.#linux.fail('UFFDIO_REGISTER', { address, bytes, modes });
    return this.#argument.get32(24);
  }

  /** Unregisters a range; waiting threads continue with ordinary faults. UFFDIO_UNREGISTER. */
  unregister(address: number, bytes: number): void {
    this.#setRange(address, bytes);
    if (this.#ioctl(this.fd, UffdRequest.unregister, this.#argument.address) !== 0)
      this.#linux.fail('UFFDIO_UNREGISTER', { address, bytes });
  }

  /** As unregister(), for a range that may have been unmapped. Returns false if the kernel refuses it. */
  tryUnregister(address: number, bytes: number): boolean {
    this.#setRange(address, bytes);
    return this.#ioctl(this.fd, UffdRequest.unregister, this.#argument.address) === 0;
  }

  /** Fills missing pages from `source`. UFFDIO_COPY. @param mode of CopyMode */
  copy(target: number, source: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, source);
    this.#argument.set64(16, bytes);
    this.#argument.set64(24, mode);
    return this.#resolve('UFFDIO_COPY', UffdRequest.copy, 32);
  }

  /** Fills missing pages with zeros; in private memory with the shared zero page. UFFDIO_ZEROPAGE. */
  zeroPage(target: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, bytes);
    this.#argument.set64(16, mode);
    return this.#resolve('UFFDIO_ZEROPAGE', UffdRequest.zeroPage, 24);
  }

  /**
   * Moves pages of private anonymous memory; afterwards they are missing at the source. UFFDIO_MOVE (6.8).
   * @param mode of MoveMode
   */
  move(target: number, source: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, source);
    this.#argument.set64(16, bytes);
    this.#argument.set64(24, mode);
    return this.#resolve('UFFDIO_MOVE', UffdRequest.move, 32);
  }

  /** Maps existing pages of the file that backs the range. UFFDIO_CONTINUE. @param mode of CopyMode */
  continue(target: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, bytes);
    this.#argument.set64(16, mode);
    return this.#resolve('UFFDIO_CONTINUE', UffdRequest.continue, 24);
  }

  /** Poisons missing pages: threads that access them get SIGBUS. UFFDIO_POISON (6.6). */
  poison(target: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, bytes);
    this.#argument.set64(16, mode);
    return this.#resolve('UFFDIO_POISON', UffdRequest.poison, 24);
  }

  /** Sets write protection, or removes it and wakes waiting threads. UFFDIO_WRITEPROTECT. @param mode of ProtectMode */
  writeProtect(target: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, bytes);
    this.#argument.set64(16, mode);
    this.#bytesDone = 0;
    if (this.#ioctl(this.fd, UffdRequest.writeProtect, this.#argument.address) === 0) {
      this.#bytesDone = bytes;
      return ResolveResult.done;
    }
    return this.#resultOf('UFFDIO_WRITEPROTECT');
  }

  /** Wakes the threads that wait in the range. UFFDIO_WAKE. */
  wake(address: number, bytes: number): void {
    this.#setRange(address, bytes);
    if (this.#ioctl(this.fd, UffdRequest.wake, this.#argument.address) !== 0)
      this.#linux.fail('UFFDIO_WAKE', { address, bytes });
  }

  /**
   * Reads up to 64 pending messages; they are valid until the next call.
   * @returns their number; 0 if none is pending or a signal arrived
   */
  readMessages(): number {
    const { address, bytes } = this.#messages;
    const length = this.#read(this.fd, address, bytes.length);
    this.#messageCount = length > 0 ? length / MESSAGE_BYTES : 0;
    if (length < 0) {
      const errno = this.#linux.errno();
      if (errno !== Errno.EAGAIN && errno !== Errno.EINTR)
        this.#linux.fail('read', { fd: this.fd });
    }
    return this.#messageCount;
  }

  /** Type of message `i`, a UffdEvent. */
  event(i: number): number {
    return this.#messages.get32(this.#at(i)) & 0xff;
  }

  /** Fault: a mask of FaultFlag. */
  faultFlags(i: number): number {
    return this.#messages.get32(this.#at(i) + 8);
  }

  /** Fault: its address; the start of the page without UffdFeature.exactAddress. */
  faultAddress(i: number): number {
    return this.#messages.get64(this.#at(i) + 16);
  }

  /** Fault: the id of the waiting thread; 0 without UffdFeature.threadId. */
  faultThread(i: number): number {
    return this.#messages.get32(this.#at(i) + 24);
  }

  /** Remove, unmap, remap: start of the (old) range. */
  rangeStart(i: number): number {
    return this.#messages.get64(this.#at(i) + 8);
  }

  /** Remove, unmap: the first byte after the range. Remap: its new start. */
  rangeEnd(i: number): number {
    return this.#messages.get64(this.#at(i) + 16);
  }

  /** Remap: its length. */
  rangeBytes(i: number): number {
    return this.#messages.get64(this.#at(i) + 24);
  }

  /** Fork: the userfaultfd of the child's memory; the receiver must close it. */
  forkDescriptor(i: number): number {
    return this.#messages.get32(this.#at(i) + 8);
  }

  /** Closes the descriptor. With the last one, waiting threads continue with ordinary faults. */
  close(): void {
    this.#linux.close(this.fd);
  }

  #at(i: number): number {
    assert(i >= 0 && i < this.#messageCount, 'i < messages of the last read');
    return i * MESSAGE_BYTES;
  }

  #setRange(first: number, second: number): void {
    this.#argument.set64(0, first);
    this.#argument.set64(8, second);
  }

  /** @param resultAt offset of the field where the kernel returns the bytes processed, or a negative errno */
  #resolve(call: string, request: number, resultAt: number): ResolveResult {
    const argument = this.#argument;
    argument.set64(resultAt, 0); // old kernels do not set it while the address space changes
    const status = this.#ioctl(this.fd, request, argument.address);
    // Before bytesDone: errno is valid only until the next call.
    const result = status === 0 ? ResolveResult.done : this.#resultOf(call);
    this.#bytesDone = Math.max(0, argument.getSigned64(resultAt));
    return result;
  }

  #resultOf(call: string): ResolveResult {
    const errno = this.#linux.errno();
    if (errno === Errno.EAGAIN) return ResolveResult.again;
    if (errno === Errno.EEXIST) return ResolveResult.exists;
    if (errno === Errno.ENOENT || errno === Errno.ESRCH) return ResolveResult.gone;
    if (errno === Errno.EBUSY) return ResolveResult.busy;
    if (errno === Errno.EFAULT && call === 'UFFDIO_CONTINUE') return ResolveResult.absent;
    const argument = this.#argument;
    return this.#linux.fail(call, { address: argument.get64(0), second: argument.get64(8) });
  }
}
