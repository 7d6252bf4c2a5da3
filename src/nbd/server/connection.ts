/**
 * One NBD client: a session on a socket.
 *
 *   socket ─ read ─▶ input ─▶ session ─▶ output ─ write ─▶ socket
 *                      ▲         │            └ not all taken: stalled, reading stops until it is
 *                      └─ carry ─┘ what the session left
 *
 * Waiting is one of: for bytes (reading), for the socket to drain (stalled), for its turn (queued after
 * ROUNDS_MAX outputs in one event, so that a busy client does not keep others out), for an asynchronous disk (queued
 * too, holding its output: the disk is ticked at every turn), for the end (closing).
 *
 * Invariants
 * - While stalled or queued or closing, nothing is read.
 * - An output that bios under way refer to is given back when they have ended, also when the client has gone.
 * - A carry is held only between events and only when it has bytes.
 */
import type { Socket } from 'node:net';
import type { NbdExport, NbdExports } from '../protocol/exports.ts';
import type { Output } from '../protocol/output.ts';
import { Session } from '../protocol/session.ts';
import { END_TEXT, isFault, SessionEnd, SessionStop } from '../protocol/state.ts';
import { LEAD_BYTES, type NbdBuffers, RECEIVE_BYTES } from './buffers.ts';
import type { ClientIdentity } from './client-identity.ts';

/** Outputs that one event may fill. */
const ROUNDS_MAX = 4;
const NOTHING = new Uint8Array(0);

/** Whether an error of a socket says that the peer has gone. */
const isHangUp = ({ code }: NodeJS.ErrnoException): boolean =>
  code === 'ECONNRESET' || code === 'EPIPE';

/** What a connection needs of its server. */
export interface ConnectionOwner {
  readonly buffers: NbdBuffers;
  readonly exports: NbdExports;
  /** Of all sessions together. */
  readonly counters: Float64Array;
  /** Why the connection may not open that export now; null: it may. */
  refusalOf(connection: NbdConnection, wanted: NbdExport): string | null;
  /** Wants serve() to be called soon, after other events. */
  queue(connection: NbdConnection): void;
  /** Holds the output in use until its disk is done with it: there must be another. */
  held(): void;
  /** As that, because the client does not read. */
  stalled(connection: NbdConnection): void;
  /** Has given it back. */
  drained(connection: NbdConnection): void;
  /** `inBytes` came, `outBytes` went. */
  moved(inBytes: number, outBytes: number): void;
  /** Chose its export. */
  negotiated(connection: NbdConnection): void;
  /** Is over for this reason, which deserves a line of log. */
  dropped(connection: NbdConnection, reason: string): void;
}

/** Whose connection it is. */
export interface ConnectionClient {
  /** For the log, another one for each connection. */
  readonly peer: string;
  readonly identity: ClientIdentity;
}

export class NbdConnection {
  readonly session: Session;
  readonly peer: string;
  readonly identity: ClientIdentity;
  /** When it came, and when its end began, ms of the server's clock. */
  readonly sinceMs: number;
  closingSinceMs: number = Number.POSITIVE_INFINITY;
  isNegotiated = false;
  readonly #owner: ConnectionOwner;
  readonly #nowMs: () => number;
  #socket: Socket | null = null;
  #carry: Uint8Array | null = null;
  #carryBytes = 0;
  /** The output that the socket has not taken yet. */
  #unsent: Output | null = null;
  /** The output of a batch that is not settled. */
  #held: Output | null = null;
  #isQueued = false;
  #isShuttingDown = false;
  #isFaultTold = false;

  constructor(owner: ConnectionOwner, client: ConnectionClient, nowMs: () => number) {
    this.#owner = owner;
    this.session = new Session(owner.exports, owner.counters, (wanted) =>
      owner.refusalOf(this, wanted),
    );
    this.peer = client.peer;
    this.identity = client.identity;
    this.#nowMs = nowMs;
    this.sinceMs = nowMs();
  }

  get isClosing(): boolean {
    return this.closingSinceMs !== Number.POSITIVE_INFINITY;
  }

  /** Says hello on `socket`, which is ours from now on and does not read yet. */
  open(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', (error) => this.#socketFailed(error));
    socket.on('end', () => this.#peerEnded());
    socket.on('close', () => this.#release());
    const { out } = this.#owner.buffers;
    this.session.open(out);
    this.#send(out);
  }

  /** `count` bytes were received into the input behind the lead. */
  received(count: number): void {
    if (this.isClosing) return;
    const { input } = this.#owner.buffers;
    const start = LEAD_BYTES - this.#carryBytes;
    if (this.#carry !== null) {
      input.bytes.set(this.#carry.subarray(0, this.#carryBytes), start);
      this.#dropCarry();
    }
    this.#owner.moved(count, 0);
    this.#serve(start, LEAD_BYTES + count);
  }

  /** For sockets that hand over chunks of their own, of any length. */
  receivedChunk(chunk: Uint8Array): void {
    const { received } = this.#owner.buffers;
    if (chunk.length <= RECEIVE_BYTES) {
      received.set(chunk);
      this.received(chunk.length);
    } else this.drop('was given more bytes at once than it can take');
  }

  /** Its turn has come again. */
  serve(): void {
    this.#isQueued = false;
    if (this.isClosing) this.#releaseHeld();
    else if (!this.#isDiskBusy()) this.#serveCarry();
  }

  /** The server shuts down: finish what is under way, then end. */
  shutDown(): void {
    this.#isShuttingDown = true;
    this.session.shutDown();
    this.#endIfIdle();
  }

  /** Hangs up at once and says why. */
  drop(reason: string): void {
    if (!this.#isFaultTold) this.#owner.dropped(this, reason);
    this.#isFaultTold = true;
    this.#beginEnd();
    this.#socket?.destroy();
  }

  #beginEnd(): void {
    if (!this.isClosing) this.closingSinceMs = this.#nowMs();
  }

  get #wantsBytes(): boolean {
    return this.#unsent === null && !this.#isQueued && !this.isClosing;
  }

  #serveCarry(): void {
    const { input } = this.#owner.buffers;
    const count = this.#carryBytes;
    if (this.#carry !== null) {
      input.bytes.set(this.#carry.subarray(0, count), 0);
      this.#dropCarry();
    }
    this.#serve(0, count);
    if (this.#wantsBytes) this.#socket?.resume();
  }

  /** Serves [at, end) of the input as far as session, socket and fairness let it; keeps the rest. */
  #serve(start: number, end: number): void {
    const { buffers } = this.#owner;
    let at = start;
    for (let round = 1; ; round++) {
      const out = this.#held ?? buffers.out;
      at = this.session.receive(buffers.input, at, end, out);
      if (this.session.stop === SessionStop.disk) this.#hold(out);
      else if (out.length > 0) this.#send(out);
      else this.#returnHeld();
      if (!this.isNegotiated && this.session.export !== null) this.#tellNegotiated();
      if (this.session.stop === SessionStop.disk) break;
      if (this.session.stop === SessionStop.ended) {
        this.#finish(this.session.end);
        return;
      }
      if (this.session.stop === SessionStop.input || this.#unsent !== null || this.isClosing) break;
      if (round === ROUNDS_MAX) {
        this.#queueAgain();
        break;
      }
    }
    this.#keep(at, end);
    if (this.#isShuttingDown) this.#endIfIdle();
    if (!this.#wantsBytes) this.#socket?.pause();
  }

  /** Bios refer to the output, or there was none left: it goes on at the next turn. */
  #hold(out: Output): void {
    if (this.#held === null && out.isOpen) {
      this.#held = out;
      this.#owner.held();
    }
    this.#queueAgain();
  }

  #returnHeld(): void {
    if (this.#held === null) return;
    this.#held.abandon();
    this.#owner.buffers.returnOutput(this.#held);
    this.#held = null;
  }

  /** Nobody waits for the batch, but the disk may not be done with it. */
  #releaseHeld(): void {
    if (this.#held !== null && !this.#isDiskBusy()) this.#returnHeld();
  }

  /** Ticks the disk for the batch that is held; true, and we are queued again, while it is not done. */
  #isDiskBusy(): boolean {
    if (this.#held === null) return false;
    this.session.export?.disk.tick();
    if (this.#held.pending === 0) return false;
    this.#queueAgain();
    return true;
  }

  #queueAgain(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    this.#owner.queue(this);
  }

  #tellNegotiated(): void {
    this.isNegotiated = true;
    this.#owner.negotiated(this);
  }

  #keep(at: number, end: number): void {
    const count = end - at;
    if (count === 0) return;
    const { buffers } = this.#owner;
    const carry = buffers.takeCarry(count);
    carry.set(buffers.input.bytes.subarray(at, end));
    this.#carry = carry;
    this.#carryBytes = count;
  }

  #dropCarry(): void {
    if (this.#carry !== null) this.#owner.buffers.returnCarry(this.#carry);
    this.#carry = null;
    this.#carryBytes = 0;
  }

  /** Writes the output. What the socket does not take at once stays with us, and nothing is read until it has gone. */
  #send(out: Output): void {
    const socket = this.#socket;
    if (socket === null || socket.destroyed) {
      this.#sent(out);
      this.#beginEnd(); // the client has gone: its other requests are not done
      return;
    }
    this.#owner.moved(0, out.length);
    socket.write(out.bytes.subarray(0, out.length));
    if (socket.writableLength === 0) {
      this.#sent(out);
      return;
    }
    this.#unsent = out;
    if (this.#held === null) this.#owner.held();
    this.#held = null;
    this.#owner.stalled(this);
    // Nothing announces that a short write has gone; an empty one behind it does.
    socket.write(NOTHING, this.#drained);
  }

  #sent(out: Output): void {
    if (this.#held === null) out.clear();
    else this.#returnHeld();
  }

  /** Not a reason to go on where the write has failed: on a broken socket each write ends at once, before any other event. */
  readonly #drained = (error?: Error | null): void => {
    if (this.#unsent === null || this.#socket === null) return;
    this.#returnUnsent();
    const isBroken = (error ?? null) !== null || this.#socket.destroyed;
    if (!this.isClosing && !isBroken) this.#serveCarry();
  };

  #returnUnsent(): void {
    if (this.#unsent === null) return;
    this.#owner.buffers.returnOutput(this.#unsent);
    this.#unsent = null;
    this.#owner.drained(this);
  }

  #endIfIdle(): void {
    if (this.isClosing || this.#unsent !== null || this.#isQueued || this.#held !== null) return;
    if (this.#carryBytes === 0 && !this.session.isInsideRequest) this.#finish(SessionEnd.shutdown);
  }

  /** Lets what is written go out, then hangs up. */
  #finish(end: SessionEnd): void {
    this.#beginEnd();
    if (isFault(end)) {
      this.#isFaultTold = true;
      this.#owner.dropped(this, END_TEXT[end] ?? 'unknown');
    }
    this.#socket?.pause();
    this.#socket?.destroySoon();
  }

  #peerEnded(): void {
    if (this.isClosing) return;
    // With a batch held, what came behind it is not looked at yet: nobody is at fault.
    if (this.#held === null && (this.session.isInsideRequest || this.#carryBytes > 0))
      this.drop('went away inside a request');
    else this.#finish(SessionEnd.disconnect);
  }

  #socketFailed(error: Error): void {
    if (this.isClosing) return;
    // A client that has said all it wants may hang up without waiting: that is a goodbye.
    const owesNothing =
      this.#unsent === null &&
      this.#held === null &&
      this.#carryBytes === 0 &&
      !this.session.isInsideRequest;
    if (owesNothing && isHangUp(error)) this.#finish(SessionEnd.disconnect);
    else this.drop(`socket failed: ${error.message}`);
  }

  #release(): void {
    this.#beginEnd();
    this.#dropCarry();
    this.#returnUnsent();
    this.#releaseHeld();
    this.#socket = null;
  }
}
