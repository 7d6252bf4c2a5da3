/**
 * A lean NBD client that pipelines requests: replies are in order, so a queue of lengths finds their ends. Data is
 * dropped. An error ends the process.
 */
import { connect, type Socket } from 'node:net';

const READ = 0;
const BUFFER_BYTES = 262_144;

interface Pending {
  readonly isRead: boolean;
  readonly length: number;
  readonly done: () => void;
}

const optionOf = (type: number, data: Buffer): Buffer => {
  const head = Buffer.alloc(16);
  head.writeBigUInt64BE(0x49484156454f5054n, 0);
  head.writeUInt32BE(type, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
};

const named = (name: string, rest: Buffer): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(name));
  return Buffer.concat([length, Buffer.from(name), rest]);
};

const goOption = (name: string): Buffer => optionOf(7, named(name, Buffer.alloc(2)));

function contextOption(name: string): Buffer {
  const query = named('base:allocation', Buffer.alloc(0));
  const count = Buffer.from([0, 0, 0, 1]);
  return optionOf(10, named(name, Buffer.concat([count, query])));
}

export class NbdPipe {
  readonly #socket: Socket;
  readonly #isStructured: boolean;
  readonly #pending: Pending[] = [];
  #first = 0;
  readonly #head: Buffer = Buffer.alloc(20);
  #headBytes = 0;
  /** Bytes of data of the reply that are still to come. */
  #skip = 0;
  #isLast = true;

  private constructor(socket: Socket, isStructured: boolean) {
    this.#socket = socket;
    this.#isStructured = isStructured;
  }

  /** @param leaves disconnects after the greeting, without an answer */
  static open(path: string, name: string, leaves = false): Promise<NbdPipe> {
    return NbdPipe.#open(path, goOption(name), 20 + 12 + 20, false, leaves);
  }

  static openStructured(path: string, name: string): Promise<NbdPipe> {
    const options = [optionOf(8, Buffer.alloc(0)), contextOption(name), goOption(name)];
    const replyBytes = 20 + (20 + 4 + 15) + 20 + 20 + 12 + 20;
    return NbdPipe.#open(path, Buffer.concat(options), replyBytes, true, false);
  }

  static #open(
    path: string,
    options: Buffer,
    replyBytes: number,
    isStructured: boolean,
    leaves: boolean,
  ): Promise<NbdPipe> {
    return new Promise((resolve, reject) => {
      let received = 0;
      let pipe: NbdPipe | null = null;
      const buffer = Buffer.alloc(BUFFER_BYTES);
      const socket = connect({
        path,
        onread: {
          buffer,
          callback: (count) => {
            if (pipe !== null) {
              pipe.#receive(buffer, count);
              return true;
            }
            received += count;
            if (received === 18 && !leaves)
              socket.write(Buffer.concat([Buffer.from([0, 0, 0, 3]), options]));
            if (received !== 18 + replyBytes && !(leaves && received === 18)) return true;
            pipe = new NbdPipe(socket, isStructured);
            resolve(pipe);
            return true;
          },
        },
      });
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the server ended the connection')));
    });
  }

  /** Sends a request; `done` is called when its reply is complete. */
  send(
    type: number,
    offset: number,
    length: number,
    done: () => void,
    data?: Uint8Array,
    flags = 0,
  ): void {
    const head = Buffer.alloc(28 + (data?.length ?? 0));
    head.writeUInt32BE(0x25609513, 0);
    head.writeUInt16BE(flags, 4);
    head.writeUInt16BE(type, 6);
    head.writeBigUInt64BE(BigInt(offset), 16);
    head.writeUInt32BE(length, 24);
    if (data !== undefined) head.set(data, 28);
    this.#pending.push({ isRead: type === READ, length, done });
    this.#socket.write(head);
  }

  /** Sends a request and waits for its reply. */
  ask(type: number, offset: number, length: number, data?: Uint8Array, flags = 0): Promise<void> {
    return new Promise((resolve) => {
      this.send(type, offset, length, resolve, data, flags);
    });
  }

  stopReading(): void {
    this.#socket.pause();
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(bytes: Buffer, end: number): void {
    for (let at = 0; at < end; ) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, end - at);
        this.#skip -= skipped;
        at += skipped;
        if (this.#skip === 0 && this.#isLast) this.#complete();
        continue;
      }
      const isChunk = this.#headBytes >= 4 && this.#head.readUInt32BE(0) === 0x668e33ef;
      const size = this.#headBytes < 4 ? 4 : isChunk ? 20 : 16;
      const taken = Math.min(size - this.#headBytes, end - at);
      bytes.copy(this.#head, this.#headBytes, at, at + taken);
      this.#headBytes += taken;
      at += taken;
      if (this.#headBytes >= 16 && this.#headBytes === size) this.#takeHead(isChunk);
    }
  }

  #takeHead(isChunk: boolean): void {
    const pending = this.#pending[this.#first]!;
    const error = isChunk ? 0 : this.#head.readUInt32BE(4);
    if (error !== 0 || (isChunk && !this.#isStructured)) throw new Error(`NBD error ${error}`);
    this.#headBytes = 0;
    this.#isLast = !isChunk || (this.#head.readUInt16BE(4) & 1) !== 0;
    if (isChunk) this.#skip = this.#head.readUInt32BE(16);
    else this.#skip = pending.isRead ? pending.length : 0;
    if (this.#skip === 0 && this.#isLast) this.#complete();
  }

  #complete(): void {
    const { done } = this.#pending[this.#first++]!;
    if (this.#first > 4096) this.#pending.splice(0, this.#first);
    if (this.#first > 4096) this.#first = 0;
    done();
  }
}
