/**
 * An eventfd that Node's event loop reads: a few microseconds after a signal from any thread, any process or the kernel,
 * `onSignal` is called in the thread that created it.
 *
 * Node has no watcher for such a descriptor. So it gets a socket of a socket pair, and dup3 replaces the socket with the
 * eventfd before the loop uses it: libuv knows only the number, polls it and reads eight bytes. Nothing else reads this
 * descriptor, so the read never blocks.
 *
 * Cost: one read(2) for each wake-up, no allocation.
 * Sources: eventfd(2), dup(2), socketpair(2); libuv src/unix/stream.c (uv__read).
 */
import { Socket, type SocketConstructorOpts } from 'node:net';
import { openEventFd } from './eventfd.ts';
import { type Linux, Struct } from './system-call.ts';

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const O_CLOEXEC = 0o2000000;
/** Longer than the counter, because libuv reads again when a read fills the buffer. */
const BUFFER_BYTES = 64;

interface ReadOptions extends SocketConstructorOpts {
  readonly manualStart: boolean;
  readonly onread: { buffer: Uint8Array; callback(count: number): boolean };
}

export class LoopEventFd implements Disposable {
  readonly fd: number;
  readonly #socket: Socket;

  /** @throws SwapError ERR_IO_SYSTEM: no descriptor is left */
  constructor(linux: Linux, onSignal: () => void) {
    const pair = new Struct(linux, 8);
    const socketpair = linux.bind(
      'int socketpair(int domain, int type, int protocol, uintptr_t to)',
    );
    if (socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, pair.address) !== 0) linux.fail('socketpair');
    this.fd = pair.get32(0);
    linux.close(pair.get32(4));
    const options: ReadOptions = {
      ...{ fd: this.fd, writable: false, manualStart: true },
      onread: {
        buffer: new Uint8Array(BUFFER_BYTES),
        callback: () => {
          onSignal();
          return true;
        },
      },
    };
    this.#socket = new Socket(options);
    try {
      const event = openEventFd(linux);
      const replaced = linux.bind('int dup3(int from, int to, int flags)')(
        event.fd,
        this.fd,
        O_CLOEXEC,
      );
      event.close();
      if (replaced === -1) linux.fail('dup3');
    } catch (error) {
      this.#socket.destroy();
      throw error;
    }
    this.#socket.read(0);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
