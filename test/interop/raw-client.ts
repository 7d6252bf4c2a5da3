/**
 * A minimal NBD client for tests that violate the protocol: it sends given bytes and reads replies by length. Fixed
 * newstyle, simple replies (nbd proto.md). Other tests use real clients.
 */
import { connect, type Socket } from 'node:net';

const magic = {
  option: 0x49484156454f5054n, // "IHAVEOPT"
  request: 0x25609513,
} as const;

export const command = { read: 0, write: 1, disconnect: 2, flush: 3 } as const;
const optionGo = 7;
const replyAck = 1;
const timeoutMs = 15_000;

export class RawClient implements Disposable {
  readonly socket: Socket;
  #parts: Buffer[] = [];
  #bytes = 0;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (part: Buffer) => {
      this.#parts.push(part);
      this.#bytes += part.length;
      this.#wake();
    });
    socket.on('close', () => this.#wake());
    socket.on('error', () => {}); // the server may end the connection: 'close' follows
  }

  /** Connects without sending anything. */
  static connect(socketPath: string): Promise<RawClient> {
    return new Promise((done, fail) => {
      const socket = connect(socketPath);
      socket.once('error', fail);
      socket.once('connect', () => done(new RawClient(socket)));
    });
  }

  /** Connects and completes the handshake. */
  static async open(socketPath: string, exportName: string): Promise<RawClient> {
    const client = await RawClient.connect(socketPath);
    await client.read(18);
    client.socket.write(Buffer.concat([Buffer.from([0, 0, 0, 3]), goOption(exportName)]));
    for (let type = 0; type !== replyAck; ) {
      const head = await client.read(20);
      type = head.readUInt32BE(12);
      await client.read(head.readUInt32BE(16));
      if (type > 0x7fff_ffff) throw new Error(`the server refuses '${exportName}': ${type}`);
    }
    return client;
  }

  get isOpen(): boolean {
    return !this.socket.destroyed && !this.socket.readableEnded;
  }

  /** The next `length` bytes; rejects if the server disconnects first or sends nothing. */
  async read(length: number): Promise<Buffer> {
    while (this.#bytes < length) {
      if (!this.isOpen) throw new Error('the server ended the connection');
      await this.#news();
    }
    const all = Buffer.concat(this.#parts);
    this.#parts = [all.subarray(length)];
    this.#bytes -= length;
    return all.subarray(0, length);
  }

  /** Resolves when the server has disconnected. */
  async ended(): Promise<void> {
    while (!this.socket.destroyed) await this.#news();
  }

  /** Waits for bytes or the end; after `timeoutMs` without either it disconnects and rejects. */
  #news(): Promise<void> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => {
        this.socket.destroy();
        fail(new Error(`no data from the server in ${timeoutMs} ms`));
      }, timeoutMs);
      this.#wake = () => {
        clearTimeout(timer);
        done();
      };
    });
  }

  /** Sends a write and waits for its simple reply. Returns the error of the reply. */
  async write(offset: number, data: Buffer): Promise<number> {
    this.socket.write(Buffer.concat([requestBytes(command.write, offset, data.length), data]));
    return (await this.read(16)).readUInt32BE(4);
  }

  async pread(offset: number, length: number): Promise<Buffer> {
    this.socket.write(requestBytes(command.read, offset, length));
    const error = (await this.read(16)).readUInt32BE(4);
    if (error !== 0) throw new Error(`read: error ${error}`);
    return this.read(length);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** NBD_OPT_GO with no information requests. */
export function goOption(exportName: string): Buffer {
  const name = Buffer.from(exportName);
  const option = Buffer.alloc(16 + 4 + name.length + 2);
  option.writeBigUInt64BE(magic.option, 0);
  option.writeUInt32BE(optionGo, 8);
  option.writeUInt32BE(option.length - 16, 12);
  option.writeUInt32BE(name.length, 16);
  name.copy(option, 20);
  return option;
}

/** The 28 bytes of a request. */
export function requestBytes(type: number, offset: number, length: number): Buffer {
  const request = Buffer.alloc(28);
  request.writeUInt32BE(magic.request, 0);
  request.writeUInt16BE(type, 6);
  request.writeBigUInt64BE(BigInt(offset), 16);
  request.writeUInt32BE(length, 24);
  return request;
}
