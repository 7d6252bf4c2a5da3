/**
 * Watches descriptors that another process has sent, from Node's event loop, and signals eventfds of that process.
 *
 *   add(fd) ─ IOCB_CMD_POLL ─▶ kernel ─ readable ─▶ own eventfd ─▶ event loop ─▶ onReady() ─ take() ─▶ entry
 *   signal(fd) ─ IOCB_CMD_POLL of a readable descriptor ─▶ kernel ─ done ─▶ eventfd of the peer
 *
 * A peer shares the open file descriptions of the descriptors that it sends, and can clear O_NONBLOCK or change the counter of
 * an eventfd at any moment. So this thread never calls read(2) or write(2) on them: the kernel polls them, takeEvent() reads
 * with RWF_NOWAIT, and the kernel's eventfd_signal(), which never blocks, adds to them.
 *
 * Invariants
 * - arm() watches an entry once: a ready entry is reported once, and not again until the owner has read it and calls arm()
 *   again.
 * - A removed entry is not reported, and not reused before the kernel has returned its request.
 * Cost: one system call each to arm, to signal and to take ready entries; nothing is allocated.
 * Sources: io_setup(2), io_submit(2), io_getevents(2), io_cancel(2); linux/aio_abi.h; preadv2(2).
 */
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type EventFd, openEventFd } from './eventfd.ts';
import { LoopEventFd } from './loop-eventfd.ts';
import { Ready } from './poll.ts';
import { callError, type Linux, Struct } from './system-call.ts';

/** struct iocb of linux/aio_abi.h. */
const Iocb = {
  data: 0,
  opcode: 16,
  fd: 20,
  events: 24,
  flags: 56,
  resultFd: 60,
  bytes: 64,
} as const;
const IOCB_CMD_POLL = 5;
const IOCB_FLAG_RESFD = 1;
/** struct io_event: data, iocb, result. */
const EVENT_BYTES = 32;
/** preadv2(2). */
const RWF_NOWAIT = 8;

const State = { free: 0, idle: 1, armed: 2, removed: 3 } as const;

/** Entry of the request that signals; no descriptor uses it. */
const SIGNAL = 0;
/** Number of completed signals that the completion ring keeps before they are taken. */
const SIGNALS_MAX = 16;

export class DescriptorWatch implements Disposable {
  readonly #linux: Linux;
  readonly #capacity: number;
  readonly #context: number;
  readonly #iocbs: Struct;
  readonly #pointer: Struct;
  readonly #events: Struct;
  readonly #states: Uint8Array;
  readonly #fds: Int32Array;
  readonly #ready: Uint8Array;
  readonly #loop: LoopEventFd;
  /** An eventfd that is always readable. */
  readonly #full: EventFd;
  readonly #call: NativeCall;
  readonly #preadv: NativeCall;
  readonly #count: Struct;
  readonly #vector: Struct;
  #signals = 0;
  #isOpen = true;

  /**
   * @param capacity maximum number of descriptors at a time
   * @param onReady called from the event loop when an entry may be ready
   * @throws SwapError ERR_IO_SYSTEM
   */
  constructor(linux: Linux, capacity: number, onReady: () => void) {
    this.#linux = linux;
    this.#capacity = capacity + 1;
    this.#call = linux.bind(
      'int64_t syscall(int64_t number, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e)',
    );
    this.#preadv = linux.bind(
      'int64_t preadv2(int fd, uintptr_t vector, int count, int64_t position, int flags)',
    );
    const entries = this.#capacity;
    this.#iocbs = new Struct(linux, entries * Iocb.bytes);
    this.#pointer = new Struct(linux, 64);
    this.#events = new Struct(linux, (entries + SIGNALS_MAX) * EVENT_BYTES);
    this.#states = new Uint8Array(entries);
    this.#fds = new Int32Array(entries);
    this.#ready = new Uint8Array(entries);
    this.#count = new Struct(linux, 64);
    this.#vector = new Struct(linux, 64);
    this.#vector.set64(0, this.#count.address);
    this.#vector.set64(8, 8);
    this.#loop = new LoopEventFd(linux, () => {
      if (this.#isOpen) onReady();
    });
    try {
      this.#full = openEventFd(linux);
    } catch (error) {
      this.#loop[Symbol.dispose]();
      throw error;
    }
    this.#full.signal();
    const context = new Struct(linux, 8);
    const { ioSetup } = linux.numbers;
    if (this.#call(ioSetup, entries + SIGNALS_MAX, context.address, 0, 0, 0) === -1) {
      const errno = linux.errno();
      this.#full.close();
      this.#loop[Symbol.dispose]();
      throw callError('io_setup', errno);
    }
    this.#context = context.get64(0);
  }

  /**
   * Watches a descriptor for input. The caller must keep it open until remove().
   * @returns its entry, at least 1; -1: full
   * @throws SwapError ERR_IO_SYSTEM: it is not watched
   */
  add(fd: number): number {
    this.#reap(); // requests of removed entries
    for (let entry = 1; entry < this.#capacity; entry++) {
      if (this.#states[entry] !== State.free) continue;
      this.#fds[entry] = fd;
      this.#ready[entry] = 0;
      this.#submit(entry, fd, this.#loop.fd);
      this.#states[entry] = State.armed;
      return entry;
    }
    return -1;
  }

  /** Reports the entry when it is readable, immediately if it already is. */
  arm(entry: number): void {
    assert(this.#states[entry] !== State.free, 'the entry is in use');
    if (this.#states[entry] !== State.idle || this.#ready[entry] === 1) return;
    this.#submit(entry, this.#fds[entry]!, this.#loop.fd);
    this.#states[entry] = State.armed;
  }

  remove(entry: number): void {
    const state = this.#states[entry];
    this.#ready[entry] = 0;
    if (state === State.idle) this.#states[entry] = State.free;
    if (state !== State.armed) return;
    this.#states[entry] = State.removed;
    // EINVAL and EAGAIN: the request has just completed. In both cases its event frees the entry.
    const at = this.#iocbs.address + entry * Iocb.bytes;
    this.#call(this.#linux.numbers.ioCancel, this.#context, at, this.#pointer.address + 8, 0, 0);
    this.#reap();
  }

  /** The next entry that is ready; -1: none. */
  take(): number {
    for (let entry = this.#ready.indexOf(1); ; entry = this.#ready.indexOf(1)) {
      if (entry !== -1) {
        this.#ready[entry] = 0;
        return entry;
      }
      if (this.#reap() === 0) return -1;
    }
  }

  /** Resets the eventfd of an entry. @returns whether it had events */
  takeEvent(entry: number): boolean {
    const fd = this.#fds[entry]!;
    return this.#preadv(fd, this.#vector.address, 1, -1, RWF_NOWAIT) === 8;
  }

  /** Adds 1 to an eventfd without waiting; a full counter does not change. False: not an eventfd. */
  signal(fd: number): boolean {
    if (this.#signals >= SIGNALS_MAX - 1) this.#reap();
    this.#signals++;
    const done = this.#trySubmit(SIGNAL, this.#full.fd, fd);
    if (!done) this.#signals--;
    return done;
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#call(this.#linux.numbers.ioDestroy, this.#context, 0, 0, 0, 0); // cancels every request
    this.#full.close();
    this.#loop[Symbol.dispose]();
  }

  #submit(entry: number, fd: number, resultFd: number): void {
    if (!this.#trySubmit(entry, fd, resultFd)) this.#linux.fail('io_submit', { fd });
  }

  #trySubmit(entry: number, fd: number, resultFd: number): boolean {
    assert(this.#isOpen, 'the watch is open');
    const at = entry * Iocb.bytes;
    const iocbs = this.#iocbs;
    iocbs.set64(at + Iocb.data, entry);
    iocbs.set64(at + 8, 0);
    iocbs.set32(at + Iocb.opcode, IOCB_CMD_POLL);
    iocbs.set32(at + Iocb.fd, fd);
    iocbs.set64(at + Iocb.events, Ready.readable);
    iocbs.set32(at + Iocb.flags, IOCB_FLAG_RESFD);
    iocbs.set32(at + Iocb.resultFd, resultFd);
    this.#pointer.set64(0, iocbs.address + at);
    const { ioSubmit } = this.#linux.numbers;
    return this.#call(ioSubmit, this.#context, 1, this.#pointer.address, 0, 0) === 1;
  }

  /** Takes completions from the kernel. @returns their number */
  #reap(): number {
    const most = this.#capacity + SIGNALS_MAX;
    const { ioGetEvents } = this.#linux.numbers;
    const count = this.#call(ioGetEvents, this.#context, 0, most, this.#events.address, 0);
    if (count === -1) {
      if (this.#linux.errno() === Errno.EINTR) return 0;
      this.#linux.fail('io_getevents');
    }
    for (let i = 0; i < count; i++) {
      const entry = this.#events.get32(i * EVENT_BYTES);
      if (entry === SIGNAL) this.#signals--;
      else if (this.#states[entry] === State.removed) this.#states[entry] = State.free;
      else {
        this.#states[entry] = State.idle;
        this.#ready[entry] = 1;
      }
    }
    return count;
  }
}
