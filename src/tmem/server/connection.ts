/**
 * One client of the tmem socket: a session on a socket.
 *
 *   socket ─ read ─▶ input ─▶ session ─▶ output ─ write ─▶ socket
 *                      ▲         │            └ not all accepted: stalled, no reads until it drains
 *                      └─ carry ─┘ unprocessed input
 *
 * After the input of an event, a connection without competitors also polls for the next one (busy-reader.ts).
 *
 * A connection waits for bytes (reading), for the socket to drain (stalled), for its turn (queued; net/turns.ts), or for its
 * end (closing).
 *
 * Invariants
 * - A stalled, queued or closing connection does not read.
 * - A connection has a carry only between events and only if it has bytes.
 * - A turn begins only while the client has the connection open: buffered input of a client that has disconnected
 *   cannot undo a request of its successor.
 */
import type { Socket } from 'node:net';
import type { Input } from '../../base/input.ts';
import { RECEIVE_BYTES, type SocketBuffers } from '../../net/buffers.ts';
import { Carry } from '../../net/carry.ts';
import { type Flow, LONE_GRANT, type Served, type Turns } from '../../net/turns.ts';
import { descriptorOf } from '../../os/socket.ts';
import { Stop, TmemSession } from '../protocol/session.ts';
import { type BusyReader, SERVED_MAX } from './busy-reader.ts';
import type { UserConnection } from './client-table.ts';
import type { SocketOutput } from './socket-output.ts';

/** Reads that fill the buffer, 128 KiB each, in one turn of a connection that has no competitor. */
const FULL_READS_MAX = 4;
const NO_BYTES = new Uint8Array(0);

/** The server, as its connections see it. */
export interface TmemOwner {
  readonly buffers: SocketBuffers<SocketOutput>;
  readonly turns: Turns;
  /** Null: input arrives only by events. */
  readonly busyReader: BusyReader | null;
  /** Whether the peer of a socket has disconnected, even if some of its bytes have not been read. */
  hasHungUp(descriptor: number): boolean;
  /** The socket has not accepted the current output; the connection keeps it. */
  stalled(connection: TmemConnection): void;
  /** The connection has returned that output. */
  drained(connection: TmemConnection): void;
  moved(inBytes: number, outBytes: number): void;
  /** The connection ended with an error; logs the reason. */
  dropped(connection: TmemConnection, reason: string): void;
}

export class TmemConnection implements Served {
  flow: Flow;
  turn = -1;
  readonly session: TmemSession;
  readonly peer: string;
  readonly pools: UserConnection;
  readonly sinceMs: number;
  isClosing = false;
  readonly #owner: TmemOwner;
  readonly #carry: Carry;
  #socket: Socket | null = null;
  #fullReads = 0;
  /** Work since the last event. */
  #work = 0;
  /** The output that the socket has not accepted yet. */
  #unsent: SocketOutput | null = null;
  #isQueued = false;
  #isErrorLogged = false;

  constructor(owner: TmemOwner, peer: string, pools: UserConnection, flow: Flow, nowMs: number) {
    this.#owner = owner;
    this.peer = peer;
    this.pools = pools;
    this.flow = flow;
    this.sinceMs = nowMs;
    this.session = new TmemSession(pools);
    this.#carry = new Carry(owner.buffers);
  }

  /** Takes ownership of `socket`, which must be paused. */
  open(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', (error) => this.#failed(error));
    socket.on('end', () => this.#ended());
    socket.on('close', () => this.#release());
  }

  /** Processes `count` bytes received into the input after the lead. */
  received(count: number): void {
    if (this.isClosing) return;
    const { buffers, turns } = this.#owner;
    const { input, leadBytes } = buffers;
    const start = leadBytes - this.#carry.count;
    const end = leadBytes + count;
    this.#carry.moveTo(input, start);
    this.#owner.moved(count, 0);
    if (!turns.admits(this)) {
      this.#carry.keep(input, start, end);
      this.#queueAndPause();
      return;
    }
    this.#serve(input, start, end);
    if (count < RECEIVE_BYTES) this.#fullReads = 0;
    else if (
      this.#mayRead &&
      (!turns.isAlone(this.flow) || ++this.#fullReads % FULL_READS_MAX === 0)
    )
      this.#queueAndPause();
  }

  /** The same, for an event of the socket; polls for more. */
  receivedByEvent(count: number): void {
    const { busyReader, turns } = this.#owner;
    this.#work = 0;
    this.received(count);
    if (busyReader === null || !busyReader.begins(this) || !turns.isAlone(this.flow)) return;
    for (let served = 0; served < SERVED_MAX && this.#work < LONE_GRANT; served++) {
      if (!this.#mayRead || turns.waitingCount > 0) return;
      const more = busyReader.receive(this.descriptor);
      if (more === 0) return;
      this.received(more);
    }
  }

  /** For sockets that deliver chunks of their own. */
  receivedChunk(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && !this.isClosing; at += RECEIVE_BYTES) {
      const part = chunk.subarray(at, at + RECEIVE_BYTES);
      this.#owner.buffers.received.set(part);
      this.received(part.length);
    }
  }

  /** Called when the connection's turn comes. */
  serve(): void {
    this.#isQueued = false;
    if (!this.isClosing) this.#serveCarry();
  }

  /** File descriptor of the socket; -1: closed. */
  get descriptor(): number {
    return this.#socket === null ? -1 : descriptorOf(this.#socket);
  }

  /** Disconnects immediately and logs the reason. */
  drop(reason: string): void {
    if (!this.#isErrorLogged) this.#owner.dropped(this, reason);
    this.#isErrorLogged = true;
    this.#close();
  }

  /** Disconnects once the written replies are sent. */
  shutDown(): void {
    this.isClosing = true;
    this.#socket?.pause().destroySoon();
  }

  #close(): void {
    this.isClosing = true;
    this.#socket?.destroy();
  }

  get #mayRead(): boolean {
    return this.#unsent === null && !this.#isQueued && !this.isClosing;
  }

  #serveCarry(): void {
    const { input, from, to } = this.#carry;
    this.#serve(input ?? this.#owner.buffers.input, from, to);
    if (this.#mayRead) this.#socket?.resume();
  }

  /** Processes [start, end) of `input`, until the session, the socket or the grant stops it; keeps the rest. */
  #serve(input: Input, start: number, end: number): void {
    const { buffers, turns } = this.#owner;
    const { session } = this;
    if (this.#owner.hasHungUp(this.descriptor)) {
      this.#close();
      return;
    }
    let at = start;
    for (let grant = turns.grant(this); ; ) {
      at = session.receive(input, at, end, buffers.out, grant);
      grant -= session.work;
      this.#work += session.work;
      turns.charge(this.flow, session.work);
      if (buffers.out.length > 0) this.#send(buffers.out);
      if (session.stop === Stop.ended) {
        this.#carry.drop();
        if (!this.#isErrorLogged) this.#owner.dropped(this, session.fault);
        this.#isErrorLogged = true;
        this.shutDown();
        return;
      }
      if (session.stop === Stop.input || this.#unsent !== null || this.isClosing) break;
      if (grant > 0) continue;
      this.#queueAgain();
      break;
    }
    this.#carry.keep(input, at, end);
    if (!this.#mayRead) this.#socket?.pause();
  }

  /** Writes the output. If the socket does not accept all of it, keeps it and stops reading until it has drained. */
  #send(out: SocketOutput): void {
    const socket = this.#socket;
    if (socket === null || socket.destroyed) {
      out.clear();
      this.isClosing = true;
      return;
    }
    this.#owner.moved(0, out.length);
    const sent = out.sendNow(this.descriptor);
    // The stream takes the rest, and reports an error of the socket.
    if (sent < out.length) socket.write(out.bytes.subarray(sent, out.length));
    if (socket.writableLength === 0) {
      out.clear();
      return;
    }
    this.#unsent = out;
    this.#owner.stalled(this);
    // Node does not report the end of a partial write; the callback of an empty write after it does.
    socket.write(NO_BYTES, this.#drained);
  }

  readonly #drained = (error?: Error | null): void => {
    if (this.#unsent === null || this.#socket === null) return;
    this.#returnUnsent();
    if (this.isClosing || (error ?? null) !== null || this.#socket.destroyed) return;
    if (this.#owner.turns.admits(this)) this.#serveCarry();
    else this.#queueAgain();
  };

  #returnUnsent(): void {
    if (this.#unsent === null) return;
    this.#owner.buffers.returnOutput(this.#unsent);
    this.#unsent = null;
    this.#owner.drained(this);
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

  #ended(): void {
    if (this.isClosing) return;
    if (this.#carry.count > 0 || this.session.isInsideRequest)
      this.drop('disconnected in the middle of a request');
    else this.shutDown();
  }

  #failed(error: NodeJS.ErrnoException): void {
    if (this.isClosing) return;
    const isQuiet = error.code === 'ECONNRESET' || error.code === 'EPIPE';
    if (isQuiet) this.#close();
    else this.drop(`socket error: ${error.message}`);
  }

  #release(): void {
    this.isClosing = true;
    this.#owner.busyReader?.forget(this);
    this.#carry.drop();
    this.#returnUnsent();
    this.#socket = null;
    this.pools.end();
  }
}
