/**
 * One front-end: its socket, its session and its device, all served by the event loop of the thread that owns the disk.
 *
 *   socket readable ─▶ messages ─▶ session ─▶ device            kick ─▶ device.serve() ─▶ call
 *
 * A message that stops rings waits until no request is in flight; later messages wait in the socket. Until then no request is
 * taken from any queue, because a busy guest would keep the message waiting forever.
 *
 * Invariants
 * - A turn handles at most WATCHED_MAX kicks, MESSAGES_MAX messages and one budget of requests; the rest follows in the next turn.
 * - Each received descriptor has one owner, even if the session ends with an error.
 * - Replies never wait: a front-end that does not read them is disconnected.
 * Cost: control path.
 */
import { SwapError } from '../base/errors.ts';
import type { DescriptorWatch } from '../os/linux/descriptor-watch.ts';
import type { Linux } from '../os/linux/system-call.ts';
import { CLOSED, NOTHING_NOW, UnixMessages } from '../os/linux/unix-messages.ts';
import type { BackEnd } from './back-end.ts';
import { MessageReader } from './protocol/message-reader.ts';
import { Session } from './protocol/session.ts';

/**
 * The socket, and for each of at most 32 queues the kick descriptor and a previous one that is being replaced. The kernel may
 * still poll the descriptors of the previous connection for a moment: QUEUES is low enough for both.
 */
export const WATCHED_MAX: number = 1 + 2 * 32;

/** Maximum number of messages per turn. */
const MESSAGES_MAX = 32;
/** After this time no further message is handled in a turn, ms: mapping one GiB of memory takes about 20. */
const MESSAGES_MS = 5;

export interface ConnectionOptions {
  readonly linux: Linux;
  /** The socket; it belongs to the connection, once that exists. */
  readonly fd: number;
  /** Has space for WATCHED_MAX descriptors, and calls turn(). The next connection uses it again. */
  readonly watch: DescriptorWatch;
  readonly createBackEnd: (onIdle: () => void, serveAfter: (ms: number) => void) => BackEnd;
  /** Called when a message was refused; the session continues. */
  readonly onRefused: (why: string) => void;
  /** Called once. @param why null: the front-end closed the connection */
  readonly onEnd: (why: string | null) => void;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #watch: DescriptorWatch;
  readonly #messages: UnixMessages;
  readonly #reader = new MessageReader();
  readonly #backEnd: BackEnd;
  readonly #session: Session;
  readonly #socketEntry: number;
  #isComplete = false;
  #hasInput = false;
  #isScheduled = false;
  #timer: NodeJS.Timeout | null = null;
  #isOpen = true;

  /** @throws SwapError: the caller keeps the socket */
  constructor(options: ConnectionOptions) {
    const { linux, fd, watch, createBackEnd } = options;
    this.#options = options;
    this.#watch = watch;
    this.#messages = new UnixMessages(linux);
    this.#backEnd = createBackEnd(
      () => this.#schedule(),
      (ms) => this.#serveAfter(ms),
    );
    this.#session = new Session(this.#backEnd);
    this.#socketEntry = watch.add(fd);
    if (this.#socketEntry === -1)
      throw new SwapError(
        'ERR_IO_SYSTEM',
        'the kernel still polls the descriptors of the previous connection; let the front-end connect again',
      );
  }

  get backEnd(): BackEnd {
    return this.#backEnd;
  }

  /** Serves requests that were delayed. */
  resume(): void {
    this.#schedule();
  }

  /** Handles what is ready: messages, kicks, requests. Called from the event loop. */
  turn(): void {
    if (!this.#isOpen) return;
    try {
      this.#takeReady();
      if (this.#hasInput || this.#isComplete) this.#receive();
      if (this.#isOpen && this.#backEnd.serve(this.#isWaiting)) this.#schedule();
    } catch (error) {
      if (!(error instanceof SwapError)) throw error;
      this.end(error.message);
    }
  }

  /** Ends the connection. @param why null: the front-end closed it */
  end(why: string | null): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const { linux, fd, onEnd } = this.#options;
    try {
      this.#session.end();
      this.#watch.remove(this.#socketEntry);
      this.#closeFds();
      this.#backEnd[Symbol.dispose]();
    } finally {
      linux.close(fd);
      onEnd(why);
    }
  }

  #schedule(): void {
    if (this.#isScheduled || !this.#isOpen) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.turn();
    });
  }

  #serveAfter(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.turn();
    }, ms);
  }

  /** Whether a message waits until no request is in flight. */
  get #isWaiting(): boolean {
    return this.#isComplete && this.#session.mustWait(this.#reader.request);
  }

  /** Takes at most WATCHED_MAX reports, because the peer can keep a descriptor readable forever. */
  #takeReady(): void {
    for (let left = WATCHED_MAX; left > 0; left--) {
      const entry = this.#watch.take();
      if (entry === -1) return;
      if (entry === this.#socketEntry) this.#hasInput = true;
      else this.#backEnd.kicked(entry);
    }
    this.#schedule();
  }

  /** Handles messages until there are no more, or until one must wait. */
  #receive(): void {
    const end = performance.now() + MESSAGES_MS;
    for (let left = MESSAGES_MAX; left > 0 && performance.now() < end; left--) {
      if (!this.#isComplete && !this.#read()) return;
      if (this.#isWaiting) return; // onIdle schedules a turn
      this.#handle();
      if (!this.#isOpen) return;
    }
    this.#schedule();
  }

  /** @returns whether a message is complete */
  #read(): boolean {
    const { fd } = this.#options;
    const reader = this.#reader;
    while (!this.#isComplete) {
      const got = this.#messages.receive(fd, reader.bytes, reader.have, reader.wanted);
      if (got === CLOSED) {
        this.end(reader.have === 0 ? null : 'the connection ended inside a message');
        return false;
      }
      if (got === NOTHING_NOW) {
        this.#hasInput = false;
        this.#watch.arm(this.#socketEntry);
        return false;
      }
      this.#isComplete = reader.took(got, this.#messages.fds, this.#messages.isTruncated);
    }
    return true;
  }

  #handle(): void {
    const { linux, fd, onRefused } = this.#options;
    const session = this.#session;
    let reply: Uint8Array | null;
    try {
      reply = session.handle(this.#reader);
    } finally {
      this.#closeFds();
    }
    this.#reader.clear();
    this.#isComplete = false;
    if (session.refusal !== '') onRefused(session.refusal);
    if (reply === null) return;
    const fds = session.replyFd === -1 ? [] : [session.replyFd];
    let sent = 0;
    try {
      sent = this.#messages.send(fd, reply, fds);
    } finally {
      for (const each of fds) linux.close(each);
    }
    if (sent !== reply.length) this.end('the front-end does not read its replies');
  }

  #closeFds(): void {
    for (const fd of this.#reader.fds.splice(0)) this.#options.linux.closeReceived(fd);
  }
}
