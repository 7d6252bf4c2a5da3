/**
 * One NBD client: a session on a socket.
 *
 *   socket ─ read ─▶ input ─▶ session ─▶ output ─ write ─▶ socket
 *                      ▲         │            └ not all accepted: stalled, no reads until it drains
 *                      └─ carry ─┘ unprocessed input
 *
 * A connection waits for bytes (reading), for the socket to drain (stalled), for its turn (queued after ROUNDS_MAX
 * outputs in one event, so that a busy client does not starve others), for an asynchronous disk (queued with its output;
 * every turn ticks the disk), or for its end (closing).
 *
 * Invariants
 * - A stalled, queued or closing connection does not read.
 * - An output with bios in flight is returned after they have ended, also when the client has disconnected.
 * - A connection has a carry only between events and only if it has bytes.
 */
import type { Socket } from 'node:net';
import type { NbdExport, NbdExports } from '../protocol/exports.ts';
import type { Output } from '../protocol/output.ts';
import { Session } from '../protocol/session.ts';
import { END_TEXT, isError, SessionEnd, SessionStop } from '../protocol/state.ts';
import { LEAD_BYTES, type NbdBuffers, RECEIVE_BYTES } from './buffers.ts';
import type { ClientIdentity } from './client-identity.ts';

/** Maximum number of outputs per event. */
const ROUNDS_MAX = 4;
const NO_BYTES = new Uint8Array(0);

/** Whether a socket error means that the peer disconnected. */
const isDisconnect = ({ code }: NodeJS.ErrnoException): boolean =>
  code === 'ECONNRESET' || code === 'EPIPE';

/** The server, as its connections see it. */
export interface ConnectionOwner {
  readonly buffers: NbdBuffers;
  readonly exports: NbdExports;
  /** Counters of all sessions. */
  readonly counters: Float64Array;
  /** The reason why the connection may not open the export now; null: it may. */
  refusalOf(connection: NbdConnection, requested: NbdExport): string | null;
  /** Requests a call of serve() in the next turn of the event loop. */
  queue(connection: NbdConnection): void;
  /** The connection keeps the current output, for its disk or for its socket: the server must replace it. */
  outputKept(): void;
  /** The connection keeps an output that the socket has not accepted. */
  stalled(connection: NbdConnection): void;
  /** The connection has returned that output. */
  drained(connection: NbdConnection): void;
  /** `inBytes` were received, `outBytes` sent. */
  moved(inBytes: number, outBytes: number): void;
  /** The connection has opened its export. */
  negotiated(connection: NbdConnection): void;
  /** The connection ended with an error; logs the reason. */
  dropped(connection: NbdConnection, reason: string): void;
}

/** The client of a connection. */
export interface ConnectionClient {
  /** Name of the connection in the log. */
  readonly peer: string;
  readonly identity: ClientIdentity;
}

export class NbdConnection {
  readonly session: Session;
  readonly peer: string;
  readonly identity: ClientIdentity;
  /** Start of the connection, and of its closing, ms of the server's clock. */
  readonly sinceMs: number;
  closingSinceMs: number = Number.POSITIVE_INFINITY;
  isNegotiated = false;
  readonly #owner: ConnectionOwner;
  readonly #nowMs: () => number;
  #socket: Socket | null = null;
  #carry: Uint8Array | null = null;
  #carryBytes = 0;
  /** The output that the socket has not accepted yet. */
  #unsent: Output | null = null;
  /** The output of an unfinished batch. */
  #pendingOut: Output | null = null;
  #isQueued = false;
  #isShuttingDown = false;
  #isErrorLogged = false;

  constructor(owner: ConnectionOwner, client: ConnectionClient, nowMs: () => number) {
    this.#owner = owner;
    this.session = new Session(owner.exports, owner.counters, (requested) =>
      owner.refusalOf(this, requested),
    );
    this.peer = client.peer;
    this.identity = client.identity;
    this.#nowMs = nowMs;
    this.sinceMs = nowMs();
  }

  get isClosing(): boolean {
    return this.closingSinceMs !== Number.POSITIVE_INFINITY;
  }

  /** Sends the greeting on `socket`, which must be paused, and takes ownership of it. */
  open(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', (error) => this.#socketFailed(error));
    socket.on('end', () => this.#peerEnded());
    socket.on('close', () => this.#release());
    const { out } = this.#owner.buffers;
    this.session.open(out);
    this.#send(out);
  }

  /** Processes `count` bytes received into the input after the lead. */
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

  /** For sockets that deliver their own chunks. */
  receivedChunk(chunk: Uint8Array): void {
    const { received } = this.#owner.buffers;
    if (chunk.length <= RECEIVE_BYTES) {
      received.set(chunk);
      this.received(chunk.length);
    } else this.drop('received chunk exceeds the input buffer');
  }

  /** Called when it is the connection's turn. */
  serve(): void {
    this.#isQueued = false;
    if (this.isClosing) this.#releasePending();
    else if (!this.#isDiskBusy()) this.#serveCarry();
  }

  /** Finishes requests in progress, then ends. */
  shutDown(): void {
    this.#isShuttingDown = true;
    this.session.shutDown();
    this.#endIfIdle();
  }

  /** Disconnects at once and logs the reason. */
  drop(reason: string): void {
    if (!this.#isErrorLogged) this.#owner.dropped(this, reason);
    this.#isErrorLogged = true;
    this.#beginEnd();
    this.#socket?.destroy();
  }

  #beginEnd(): void {
    if (!this.isClosing) this.closingSinceMs = this.#nowMs();
  }

  get #mayRead(): boolean {
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
    if (this.#mayRead) this.#socket?.resume();
  }

  /** Processes [start, end) of the input until session, socket or ROUNDS_MAX stop it; keeps the rest. */
  #serve(start: number, end: number): void {
    const { buffers } = this.#owner;
    let at = start;
    for (let round = 1; ; round++) {
      const out = this.#pendingOut ?? buffers.out;
      at = this.session.receive(buffers.input, at, end, out);
      if (this.session.stop === SessionStop.disk) this.#keepPending(out);
      else if (out.length > 0) this.#send(out);
      else this.#returnPending();
      if (!this.isNegotiated && this.session.export !== null) this.#reportNegotiated();
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
    if (!this.#mayRead) this.#socket?.pause();
  }

  /** Bios use the output, or no bio was free: continues at the next turn. */
  #keepPending(out: Output): void {
    if (this.#pendingOut === null && out.isOpen) {
      this.#pendingOut = out;
      this.#owner.outputKept();
    }
    this.#queueAgain();
  }

  #returnPending(): void {
    if (this.#pendingOut === null) return;
    this.#pendingOut.discard();
    this.#owner.buffers.returnOutput(this.#pendingOut);
    this.#pendingOut = null;
  }

  /** The client has disconnected: returns the output once its bios have ended. */
  #releasePending(): void {
    if (this.#pendingOut !== null && !this.#isDiskBusy()) this.#returnPending();
  }

  /** Ticks the disk for the batch in flight. Returns true, and queues the connection again, while bios are in flight. */
  #isDiskBusy(): boolean {
    if (this.#pendingOut === null) return false;
    this.session.export?.disk.tick();
    if (this.#pendingOut.pending === 0) return false;
    this.#queueAgain();
    return true;
  }

  #queueAgain(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    this.#owner.queue(this);
  }

  #reportNegotiated(): void {
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

  /** Writes the output. If the socket does not accept all of it, keeps it and stops reading until it has drained. */
  #send(out: Output): void {
    const socket = this.#socket;
    if (socket === null || socket.destroyed) {
      this.#sent(out);
      this.#beginEnd(); // the client has disconnected: drops its other requests
      return;
    }
    this.#owner.moved(0, out.length);
    socket.write(out.bytes.subarray(0, out.length));
    if (socket.writableLength === 0) {
      this.#sent(out);
      return;
    }
    this.#unsent = out;
    if (this.#pendingOut === null) this.#owner.outputKept();
    this.#pendingOut = null;
    this.#owner.stalled(this);
    // Node does not report the end of a partial write; the callback of an empty write behind it does.
    socket.write(NO_BYTES, this.#drained);
  }

  #sent(out: Output): void {
    if (this.#pendingOut === null) out.clear();
    else this.#returnPending();
  }

  /** Does not continue after a failed write: on a broken socket each write fails at once, before any other event. */
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
    if (this.isClosing || this.#unsent !== null || this.#isQueued || this.#pendingOut !== null)
      return;
    if (this.#carryBytes === 0 && !this.session.isInsideRequest) this.#finish(SessionEnd.shutdown);
  }

  /** Disconnects after the written bytes are sent. */
  #finish(end: SessionEnd): void {
    this.#beginEnd();
    if (isError(end)) {
      this.#isErrorLogged = true;
      this.#owner.dropped(this, END_TEXT[end] ?? 'unknown');
    }
    this.#socket?.pause();
    this.#socket?.destroySoon();
  }

  #peerEnded(): void {
    if (this.isClosing) return;
    // Input behind a batch in flight is not processed yet, so it may end with NBD_CMD_DISC.
    if (this.#pendingOut === null && (this.session.isInsideRequest || this.#carryBytes > 0))
      this.drop('disconnected in the middle of a request');
    else this.#finish(SessionEnd.disconnect);
  }

  #socketFailed(error: Error): void {
    if (this.isClosing) return;
    // A client may close the socket without NBD_CMD_DISC when no request is pending.
    const isIdle =
      this.#unsent === null &&
      this.#pendingOut === null &&
      this.#carryBytes === 0 &&
      !this.session.isInsideRequest;
    if (isIdle && isDisconnect(error)) this.#finish(SessionEnd.disconnect);
    else this.drop(`socket error: ${error.message}`);
  }

  #release(): void {
    this.#beginEnd();
    this.#dropCarry();
    this.#returnUnsent();
    this.#releasePending();
    this.#socket = null;
  }
}
