/**
 * One NBD client: a session on a socket.
 *
 *   socket ─ read ─▶ input ─▶ session ─▶ output ─ write ─▶ socket
 *                      ▲         │            └ not all accepted: stalled, no reads until it drains
 *                      └─ carry ─┘ unprocessed input
 *
 * A connection waits for bytes (reading), for the socket to drain (stalled), for its turn (queued; turns.ts), for an
 * asynchronous disk (queued with its output; every turn ticks the disk), for the gate of its export (held: frozen, or above its
 * rate), for the TLS handshake (securing), for its move to another thread (leaving: its output is sent first), or for its end
 * (closing).
 *
 * With TLS the socket gets copies of the outputs (node:tls may keep the buffers that it gets), and the connection counts as
 * backed up above BACKED_UP_BYTES.
 *
 * Invariants
 * - A stalled, queued, held, backed-up, leaving or closing connection does not read.
 * - From STARTTLS on, no byte is read from or written to the plain socket.
 * - An output with bios in flight is returned after they have ended, even if the client has disconnected.
 * - A connection has a carry only between events, and only if the carry is not empty.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Input } from '../../base/input.ts';
import { RECEIVE_BYTES } from '../../net/buffers.ts';
import { Carry } from '../../net/carry.ts';
import type { Flow, Served } from '../../net/turns.ts';
import { descriptorOf } from '../../os/socket.ts';
import type { Output } from '../protocol/output.ts';
import { Session } from '../protocol/session.ts';
import { END_TEXT, isError, SessionEnd, SessionStop } from '../protocol/state.ts';
import { endsWithDisconnect } from '../protocol/wire.ts';
import { DOES_NOT_READ, LEAD_BYTES } from './buffers.ts';
import type { ClientIdentity } from './client-identity.ts';
import type { Begun, ConnectionClient, ConnectionOwner } from './connection-owner.ts';
import { KeptOutputs } from './kept-outputs.ts';
import { ReadPace } from './read-pace.ts';
import { errorText, isDisconnect } from './socket-errors.ts';
import { TlsOverhead } from './tls-overhead.ts';
import { type ClientUser, VisibleExports } from './visible-exports.ts';

/** The connection does not read while an encrypted socket has more unsent bytes than this. */
const BACKED_UP_BYTES = 65536;
const NO_BYTES = new Uint8Array(0);

export class NbdConnection implements Served {
  flow: Flow;
  turn = -1;
  readonly id: number;
  readonly session: Session;
  readonly peer: string;
  readonly identity: ClientIdentity;
  readonly user: ClientUser;
  /** Start of the connection, and of its closing, ms of the server's clock. */
  readonly sinceMs: number;
  closingSinceMs: number = Number.POSITIVE_INFINITY;
  isNegotiated = false;
  readonly #owner: ConnectionOwner<NbdConnection>;
  readonly #nowMs: () => number;
  #socket: Socket | null = null;
  readonly #carry: Carry;
  readonly #pace = new ReadPace();
  readonly #kept: KeptOutputs;
  #isQueued = false;
  #isHeld = false;
  /** The TLS handshake is in progress. */
  #isSecuring = false;
  #isSecure = false;
  #overhead: TlsOverhead | null = null;
  #isBackedUp = false;
  /** Another thread will continue. */
  #isLeaving = false;
  #isShuttingDown = false;
  #isErrorLogged = false;

  /**
   * @param flow the flow of connections that negotiate
   * @param begun the negotiation so far; null: call open()
   */
  constructor(
    owner: ConnectionOwner<NbdConnection>,
    client: ConnectionClient,
    flow: Flow,
    nowMs: () => number,
    begun: Begun | null = null,
  ) {
    this.#owner = owner;
    this.id = client.id;
    this.#carry = new Carry(owner.buffers);
    this.#kept = new KeptOutputs(owner.buffers);
    this.flow = flow;
    this.session = new Session(
      new VisibleExports(owner.exports, client.user),
      owner.counters,
      (requested) => owner.refusalOf(this, requested),
      owner.tls?.mode ?? 'off',
      begun?.handshake ?? null,
      begun?.isVisiting ?? false,
    );
    this.peer = client.peer;
    this.identity = client.identity;
    this.user = client.user;
    this.#nowMs = nowMs;
    this.sinceMs = client.sinceMs;
  }

  /** File descriptor of the socket; -1: closed. */
  get descriptor(): number {
    return this.#socket === null ? -1 : descriptorOf(this.#socket);
  }

  /** The client sends too many TLS messages without data. */
  get isFlooding(): boolean {
    return this.#overhead?.isExcessive() === true;
  }

  get isClosing(): boolean {
    return this.closingSinceMs !== Number.POSITIVE_INFINITY;
  }

  /** Sends the greeting on `socket`, which must be paused, and takes ownership of it. */
  open(socket: Socket): void {
    this.#own(socket);
    const { out } = this.#owner.buffers;
    this.session.open(out);
    this.#send(out);
  }

  /** Continues a negotiation on `socket`, which must be paused, and takes ownership of it. */
  resume(socket: Socket, input: Uint8Array): void {
    this.#own(socket);
    this.#carry.keepBytes(input);
    this.#pace.hasRead();
    this.#queueAgain();
  }

  /** For another thread: returns the unprocessed input and closes the socket; its descriptor was duplicated. */
  detach(): Uint8Array {
    const rest = this.#carry.copy();
    this.#beginEnd();
    this.#socket?.destroy();
    return rest;
  }

  #own(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', (error) => this.#socketFailed(error));
    socket.on('end', () => this.#peerEnded());
    socket.on('close', () => this.#release());
  }

  /** Processes `count` unencrypted bytes that were received into the input, after the lead. */
  received(count: number): void {
    if (!this.#isSecuring && !this.#isSecure) this.#received(count);
  }

  /** For sockets that deliver their own chunks. */
  receivedChunk(chunk: Uint8Array): void {
    if (!this.#isSecuring && !this.#isSecure) this.#receivedChunk(chunk);
  }

  /** @param isRepeatable more bytes may follow in the same turn of the event loop */
  #received(count: number, isRepeatable = false): void {
    if (this.isClosing) return;
    const { buffers, turns } = this.#owner;
    const { input } = buffers;
    const start = LEAD_BYTES - this.#carry.count;
    const end = LEAD_BYTES + count;
    this.#carry.moveTo(input, start);
    this.#pace.hasRead();
    this.#owner.moved(count, 0);
    if (!turns.admits(this, isRepeatable)) {
      this.#carry.keep(input, start, end);
      this.#queueAndPause();
      return;
    }
    this.#serve(input, start, end);
    if (count < RECEIVE_BYTES) this.#pace.endFullReads();
    else if (!this.#pace.mayReadOn(turns.isAlone(this.flow)) && this.#mayRead)
      this.#queueAndPause();
  }

  #receivedChunk(chunk: Uint8Array): void {
    const { received } = this.#owner.buffers;
    if (chunk.length <= RECEIVE_BYTES) {
      received.set(chunk);
      this.#received(chunk.length, true);
    } else this.drop('received chunk exceeds the input buffer');
  }

  /** Called when it is the connection's turn. */
  serve(): void {
    this.#isQueued = false;
    if (this.isClosing) this.#releasePending();
    else if (this.#hasLeft()) this.#leave();
    else if (!this.#isDiskBusy()) this.#serveCarry();
  }

  /** Whether the client has disconnected. Node does not report that for a socket that is not read. */
  #hasLeft(): boolean {
    return this.#pace.isCheckDue() && this.#owner.hasHungUp(this);
  }

  /**
   * Ends the connection if its client has disconnected: its requests must not be processed after those of a later connection.
   */
  leaveIfGone(): void {
    if (!this.isClosing && this.#owner.hasHungUp(this)) this.#leave();
  }

  /** The client has disconnected: its requests are dropped. */
  #leave(): void {
    const { input, from, to } = this.#carry;
    if (
      (this.#kept.pending === null && this.#isBetweenRequests) ||
      endsWithDisconnect(input?.bytes ?? NO_BYTES, from, to)
    )
      this.#finish(SessionEnd.disconnect);
    else this.drop('client disconnected while its requests were waiting');
    this.#releasePending();
  }

  /** The gate may be open: a held connection asks it again, unless its client has disconnected. */
  release(): void {
    if (this.#isHeld) this.#queueAgain();
    this.#isHeld = false;
    this.#pace.checkNext();
  }

  /** Finishes the request in progress, then ends. Waiting requests get no reply. */
  shutDown(): void {
    this.#isShuttingDown = true;
    this.session.shutDown();
    this.release();
    this.#endIfIdle();
  }

  /** Disconnects immediately and logs the reason. */
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
    const isBusy = this.#isSecuring || this.#isBackedUp || this.#isLeaving;
    const isWaiting = this.#isQueued || this.#isHeld || isBusy;
    return this.#kept.unsent === null && !isWaiting && !this.isClosing;
  }

  #serveCarry(): void {
    const { input, from, to } = this.#carry;
    this.#serve(input ?? this.#owner.buffers.input, from, to);
    if (this.#mayRead) this.#socket?.resume();
  }

  /** Processes [start, end) of `input` until the session, the socket or the grant stops it; keeps the rest. */
  #serve(input: Input, start: number, end: number): void {
    const { buffers, turns } = this.#owner;
    let at = start;
    for (let grant = turns.grant(this); ; ) {
      const out = this.#kept.pending ?? buffers.out;
      if (this.#isHeldByGate()) break;
      const [inFrom, outFrom] = [at, out.length];
      at = this.session.receive(input, at, end, out, grant);
      grant -= this.session.work;
      turns.charge(this.flow, this.session.work);
      this.session.export?.gate?.charge(at - inFrom + out.length - outFrom);
      if (this.session.stop === SessionStop.disk) this.#keepPending(out);
      else if (out.length > 0) this.#send(out);
      else this.#kept.returnPending();
      if (!this.isNegotiated && this.session.export !== null) {
        this.isNegotiated = true;
        this.#owner.negotiated(this);
      }
      if (this.session.stop === SessionStop.disk) break;
      if (this.session.stop === SessionStop.ended) {
        this.#carry.drop();
        this.#finish(this.session.end);
        return;
      }
      const { stop } = this.session;
      if (stop === SessionStop.input || stop === SessionStop.startTls) break;
      if (stop === SessionStop.handOver) break;
      if (this.#kept.unsent !== null || this.#isBackedUp || this.isClosing) break;
      if (grant > 0) continue;
      this.#queueAgain();
      break;
    }
    this.#carry.keep(input, at, end);
    if (this.session.stop === SessionStop.startTls) this.#startTls();
    else if (this.session.stop === SessionStop.handOver) this.#handOver();
    else {
      if (this.#isShuttingDown) this.#endIfIdle();
      if (!this.#mayRead) this.#socket?.pause();
    }
  }

  /** Moves to another thread once all replies have been sent. A connection that returns does not wait for its client. */
  #handOver(): void {
    this.#isLeaving = true;
    this.#socket?.pause();
    if (this.#kept.unsent !== null && this.session.handOverTo === null) this.drop(DOES_NOT_READ);
    if (this.#kept.unsent !== null || this.#socket === null || this.isClosing) return;
    if (this.#isShuttingDown) this.#finish(SessionEnd.shutdown);
    else this.#owner.handOver(this);
  }

  /** Starts the TLS handshake once the reply to STARTTLS has been sent. */
  #startTls(): void {
    const { tls } = this.#owner;
    const plain = this.#socket;
    this.#isSecuring = true;
    plain?.pause();
    if (tls === null || plain === null || this.#kept.unsent !== null || this.isClosing) return;
    tls.start(plain, this.identity.origin, {
      secured: (socket, about) => this.#secured(socket, about),
      failed: (reason) => {
        if (!this.#isSecuring) return; // the server ended it
        this.#isSecuring = false;
        this.drop(`TLS handshake failed: ${reason}`);
      },
    });
  }

  #secured(socket: TLSSocket, about: string): void {
    if (this.isClosing || this.#socket === null) return; // it ends with the plain socket
    this.#isSecuring = false;
    this.#isSecure = true;
    this.#overhead = new TlsOverhead(this.#socket, socket);
    this.#socket = socket;
    this.session.secured();
    this.#owner.secured(this, about);
    socket.on('error', (error) => this.#socketFailed(error));
    socket.on('end', () => this.#peerEnded());
    socket.on('drain', () => this.#sentBackedUp());
    socket.on('data', (chunk: Uint8Array) => this.#receivedChunk(chunk));
  }

  /** Whether the export's gate delays the next batch; if so, the connection will be served again. */
  #isHeldByGate(): boolean {
    const gate = this.session.export?.gate ?? null;
    if (gate === null || gate.isOpen) return false;
    if (this.#isShuttingDown || this.#kept.pending !== null) return false;
    const waitMs = gate.waitMs(this.#nowMs());
    if (waitMs === 0) return false;
    this.#isHeld = true;
    this.#owner.hold(this, waitMs);
    return true;
  }

  /** Bios use the output, or no bio was free: continue in the next turn. */
  #keepPending(out: Output): void {
    if (this.#kept.keepPending(out)) this.#owner.outputKept();
    this.#queueAgain();
  }

  /** The client has disconnected: returns the output once its bios have ended. */
  #releasePending(): void {
    if (this.#kept.pending !== null && !this.#isDiskBusy()) this.#kept.returnPending();
  }

  /** Ticks the disk for the batch in flight. Returns true, and queues the connection again, while bios are in flight. */
  #isDiskBusy(): boolean {
    if (this.#kept.pending === null) return false;
    this.session.export?.disk.tick();
    if (this.#kept.pending.pending === 0) return false;
    this.#queueAgain();
    return true;
  }

  #queueAgain(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    this.#owner.turns.queue(this);
  }

  #queueAndPause(): void {
    this.#queueAgain();
    this.#socket?.pause();
  }

  /** Writes the output. If the socket does not accept all of it, keeps it and stops reading until it has drained. */
  #send(out: Output): void {
    const socket = this.#socket;
    if (socket === null || socket.destroyed) {
      this.#kept.sent(out);
      this.#beginEnd(); // the client has disconnected: drops its other requests
      return;
    }
    this.#owner.moved(0, out.length);
    if (this.#isSecure) {
      this.#sendCopy(socket, out);
      return;
    }
    socket.write(out.bytes.subarray(0, out.length));
    if (socket.writableLength === 0) {
      this.#kept.sent(out);
      return;
    }
    if (this.#kept.keepUnsent(out)) this.#owner.outputKept();
    this.#owner.stalled(this);
    // Node does not report the end of a partial write, but it calls the callback of an empty write after it.
    socket.write(NO_BYTES, this.#drained);
  }

  /** Writes a copy of the output to an encrypted socket. */
  #sendCopy(socket: Socket, out: Output): void {
    socket.write(Buffer.from(out.bytes.subarray(0, out.length)));
    this.#kept.sent(out);
    if (socket.writableLength <= BACKED_UP_BYTES || this.#isBackedUp) return;
    this.#isBackedUp = true;
    // node:tls counts every write as unsent until the next turn.
    setImmediate(() => {
      if (this.#isBackedUp && !this.isClosing) this.#owner.stalled(this);
    });
  }

  #sentBackedUp(): void {
    if (!this.#isBackedUp) return;
    this.#isBackedUp = false;
    this.#owner.drained(this);
    if (!this.isClosing && !this.#isQueued && !this.#isHeld) this.#continue(true);
  }

  /** Continues after the socket has drained; immediately, if its flow has credit in this turn. */
  #continue(isRepeatable: boolean): void {
    if (this.#owner.turns.admits(this, isRepeatable)) this.#serveCarry();
    else this.#queueAgain();
  }

  /** Does not continue after a failed write: on a broken socket each write fails immediately, before any other event. */
  readonly #drained = (error?: Error | null): void => {
    if (this.#kept.unsent === null || this.#socket === null) return;
    this.#returnUnsent();
    const isBroken = (error ?? null) !== null || this.#socket.destroyed;
    if (this.isClosing || isBroken) return;
    if (this.#isSecuring) this.#startTls();
    else if (this.#isLeaving) this.#handOver();
    else this.#continue(false);
  };

  #returnUnsent(): void {
    if (this.#kept.returnUnsent()) this.#owner.drained(this);
  }

  /** Whether all received bytes have been processed, so that no part of a request waits. */
  get #isBetweenRequests(): boolean {
    return this.#carry.count === 0 && !this.session.isInsideRequest;
  }

  #endIfIdle(): void {
    if (this.isClosing || this.#isQueued || this.#isBackedUp) return;
    if (!this.#kept.isEmpty) return;
    if (!this.session.isInsideRequest) this.#finish(SessionEnd.shutdown); // it starts no other request
  }

  /** Disconnects after the written bytes are sent. */
  #finish(end: SessionEnd): void {
    this.#beginEnd();
    if (isError(end)) {
      this.#isErrorLogged = true;
      this.#owner.dropped(this, END_TEXT[end] ?? 'unknown');
    }
    if (this.#isSecuring) this.#socket?.destroy();
    else this.#socket?.pause().destroySoon();
    this.#isSecuring = false;
  }

  #peerEnded(): void {
    if (this.isClosing || this.#isSecuring) return; // the end of the TLS handshake reports the reason
    // Input after a batch in flight is not processed yet, so it may end with NBD_CMD_DISC.
    if (this.#kept.pending === null && !this.#isBetweenRequests)
      this.drop('disconnected in the middle of a request');
    else this.#finish(SessionEnd.disconnect);
  }

  #socketFailed(error: Error): void {
    if (this.isClosing || this.#isSecuring) return;
    // A client may close the socket without NBD_CMD_DISC when no request is pending.
    const isSent = this.#kept.isEmpty && !this.#isBackedUp;
    if (isSent && this.#isBetweenRequests && isDisconnect(error))
      this.#finish(SessionEnd.disconnect);
    else this.drop(errorText(error));
  }

  #release(): void {
    this.#beginEnd();
    this.#carry.drop();
    this.#returnUnsent();
    this.#owner.drained(this);
    this.#releasePending();
    this.#socket = null;
  }
}
