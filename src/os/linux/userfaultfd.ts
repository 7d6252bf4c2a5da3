/**
 * A userfaultfd: the kernel asks us for the pages of a range, one message a fault; the thread that touched waits.
 *
 *     thread touches a page ─▶ fault ─▶ message ─▶ readMessages() ─▶ copy / zeroPage / move / ... ─▶ thread runs on
 *
 * The thread that serves must never touch a registered page that may be missing, nor wait for a thread that may. A
 * descriptor belongs to the process: any thread may adopt it by number, and several may serve one.
 *
 * Every call that resolves faults is answered by a number of `Resolve` and leaves in `bytesDone` how far it came; the
 * kernel works page by page from the front. `again` after a part is the ordinary case of a batch that met a page which is
 * there already: the call for the rest will say `exists`.
 *
 * Invariants: nothing is allocated by a call (but the heap numbers of addresses); one struct, one message buffer, made once.
 * Cost: `copy` 1.7 us for one page, 1 us a page in batches; `readMessages` one system call.
 * Left out: blocking reads (poll.ts; a thread stuck in read(2) holds up process.exit() for ever).
 * Sources: userfaultfd(2), ioctl_userfaultfd(2), UFFDIO_MOVE(2const), UFFDIO_POISON(2const); mm/userfaultfd.c and
 * fs/userfaultfd.c for what the pages leave open.
 */
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';
import { UffdRequest } from './uffd-constants.ts';

/** How an ioctl that resolves faults went. */
export const ResolveResult = {
  /** All of it. */
  done: 0,
  /** EAGAIN: `bytesDone` of it, then something was in the way, or the address space is changing. Ask for the rest. */
  again: 1,
  /** EEXIST: the first page is there already. */
  exists: 2,
  /** ENOENT, ESRCH: the range is not (or no longer) mapped and registered as one; for `move` a hole in the source. */
  gone: 3,
  /** EBUSY: a page of the source is shared or pinned; copy it instead. */
  busy: 4,
  /** EFAULT of `continue`: the file has no page there. */
  absent: 5,
} as const;
export type ResolveResult = (typeof ResolveResult)[keyof typeof ResolveResult];

/** struct uffd_msg. */
const MESSAGE_BYTES = 32;
/** Messages that one read takes at most. */
const MESSAGES_A_READ = 64;

/** The largest struct of an ioctl here: uffdio_copy and uffdio_move. */
const ARGUMENT_BYTES = 40;

export class Userfaultfd {
  readonly fd: number;
  /** The features that are on; a mask of UffdFeature. */
  readonly features: number;
  readonly #linux: Linux;
  readonly #ioctl: NativeCall;
  readonly #read: NativeCall;
  readonly #argument: Struct;
  readonly #messages: Struct;
  #messageCount = 0;
  #bytesDone = 0;

  /** Adopts an open descriptor whose features are settled (userfaultfd-open.ts), also one of another thread. */
  constructor(linux: Linux, fd: number, features: number) {
    this.fd = fd;
    this.features = features;
    this.#linux = linux;
    this.#ioctl = linux.ioctl;
    this.#read = linux.bind('int64_t read(int fd, uintptr_t buffer, size_t count)');
    this.#argument = new Struct(linux, ARGUMENT_BYTES);
    this.#messages = new Struct(linux, MESSAGES_A_READ * MESSAGE_BYTES);
  }

  /** Bytes that the last call which answers a `Resolve` has done, from the front. */
  get bytesDone(): number {
    return this.#bytesDone;
  }

  /**
   * Faults of the range come here from now on. UFFDIO_REGISTER; registering again changes the modes.
   * @param modes of UffdMode
   * @returns the ioctls that work on the range: bit n is command n of linux/userfaultfd.h
   */
  register(address: number, bytes: number, modes: number): number {
    this.#setRange(address, bytes);
    this.#argument.set64(16, modes);
    this.#argument.set64(24, 0);
    if (this.#ioctl(this.fd, UffdRequest.register, this.#argument.address) !== 0)
      this.#linux.fail('UFFDIO_REGISTER', { address, bytes, modes });
    return this.#argument.get32(24);
  }

  /** No more; threads that wait in the range run on and fault the ordinary way. UFFDIO_UNREGISTER. */
  unregister(address: number, bytes: number): void {
    this.#setRange(address, bytes);
    if (this.#ioctl(this.fd, UffdRequest.unregister, this.#argument.address) !== 0)
      this.#linux.fail('UFFDIO_UNREGISTER', { address, bytes });
  }

  /** Fills missing pages from memory of ours. UFFDIO_COPY. @param mode of CopyMode */
  copy(target: number, source: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, source);
    this.#argument.set64(16, bytes);
    this.#argument.set64(24, mode);
    return this.#resolve('UFFDIO_COPY', UffdRequest.copy, 32);
  }

  /** Fills missing pages with zeros, for private memory by the shared zero page. UFFDIO_ZEROPAGE. */
  zeroPage(target: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, bytes);
    this.#argument.set64(16, mode);
    return this.#resolve('UFFDIO_ZEROPAGE', UffdRequest.zeroPage, 24);
  }

  /**
   * Moves pages of private anonymous memory, which are missing at the source then. UFFDIO_MOVE (6.8).
   * @param mode of MoveMode
   */
  move(target: number, source: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, source);
    this.#argument.set64(16, bytes);
    this.#argument.set64(24, mode);
    return this.#resolve('UFFDIO_MOVE', UffdRequest.move, 32);
  }

  /** Maps pages that the file behind the range has already. UFFDIO_CONTINUE. @param mode of CopyMode */
  continue(target: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, bytes);
    this.#argument.set64(16, mode);
    return this.#resolve('UFFDIO_CONTINUE', UffdRequest.continue, 24);
  }

  /** Whoever touches one of these missing pages from now on gets SIGBUS. UFFDIO_POISON (6.6). */
  poison(target: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, bytes);
    this.#argument.set64(16, mode);
    return this.#resolve('UFFDIO_POISON', UffdRequest.poison, 24);
  }

  /** Protects a range against writing, or lifts it and wakes who waits. UFFDIO_WRITEPROTECT. @param mode of ProtectMode */
  writeProtect(target: number, bytes: number, mode: number): ResolveResult {
    this.#setRange(target, bytes);
    this.#argument.set64(16, mode);
    this.#bytesDone = 0;
    if (this.#ioctl(this.fd, UffdRequest.writeProtect, this.#argument.address) === 0) {
      this.#bytesDone = bytes;
      return ResolveResult.done;
    }
    return this.#answer('UFFDIO_WRITEPROTECT');
  }

  /** Threads that wait in the range try again. UFFDIO_WAKE. */
  wake(address: number, bytes: number): void {
    this.#setRange(address, bytes);
    if (this.#ioctl(this.fd, UffdRequest.wake, this.#argument.address) !== 0)
      this.#linux.fail('UFFDIO_WAKE', { address, bytes });
  }

  /**
   * Takes the messages that wait, at most 64; they are there until the next call.
   * @returns how many; 0 when none waits or a signal came
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

  /** What message `i` is about: a number of UffdEvent. */
  event(i: number): number {
    return this.#messages.get32(this.#at(i)) & 0xff;
  }

  /** Of a fault: a mask of FaultFlag. */
  faultFlags(i: number): number {
    return this.#messages.get32(this.#at(i) + 8);
  }

  /** Of a fault: where; the start of the page, the byte with UffdFeature.exactAddress. */
  faultAddress(i: number): number {
    return this.#messages.get64(this.#at(i) + 16);
  }

  /** Of a fault: which thread waits, 0 without UffdFeature.threadId. */
  faultThread(i: number): number {
    return this.#messages.get32(this.#at(i) + 24);
  }

  /** Of a remove, an unmap or a remap: where the range is, or was. */
  rangeStart(i: number): number {
    return this.#messages.get64(this.#at(i) + 8);
  }

  /** Of a remove or an unmap: the first byte after it. Of a remap: where it starts now. */
  rangeEnd(i: number): number {
    return this.#messages.get64(this.#at(i) + 16);
  }

  /** Of a remap: its bytes. */
  rangeBytes(i: number): number {
    return this.#messages.get64(this.#at(i) + 24);
  }

  /** Of a fork: the userfaultfd of the child's memory, which is ours to close. */
  forkDescriptor(i: number): number {
    return this.#messages.get32(this.#at(i) + 8);
  }

  /** Threads that wait run on and fault the ordinary way, once nobody else has the descriptor. */
  close(): void {
    this.#linux.close(this.fd);
  }

  #at(i: number): number {
    assert(i >= 0 && i < this.#messageCount, 'the message was read');
    return i * MESSAGE_BYTES;
  }

  #setRange(first: number, second: number): void {
    this.#argument.set64(0, first);
    this.#argument.set64(8, second);
  }

  /** @param resultAt where the kernel writes the bytes that it has done, or minus an errno */
  #resolve(call: string, request: number, resultAt: number): ResolveResult {
    const argument = this.#argument;
    argument.set64(resultAt, 0); // old kernels leave it while the address space changes
    const status = this.#ioctl(this.fd, request, argument.address);
    // errno first: it is only there until the next call.
    const answer = status === 0 ? ResolveResult.done : this.#answer(call);
    this.#bytesDone = Math.max(0, argument.getSigned64(resultAt));
    return answer;
  }

  #answer(call: string): ResolveResult {
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
