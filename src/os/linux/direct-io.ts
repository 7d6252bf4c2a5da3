/**
 * recv(2) and send(2) on the descriptors of sockets of Node's event loop, without waiting. Node's streams allocate for each
 * write, and its loop calls back for each read; these calls do neither. The socket still reports its end and its errors
 * through its stream.
 *
 * Cost: one system call each, no allocation.
 * Sources: recv(2), send(2).
 */
import { type BusyPoll, systemBusyPoll } from './busy-poll.ts';
import { loadLibC } from './libc.ts';

/** Transfers of this thread. */
export interface DirectIo {
  /** Receives into a buffer. @returns a function of the descriptor: bytes received; 0: the peer has closed; -1: nothing */
  receiver(into: Uint8Array): (fd: number) => number;
  /** Sends the first `length` bytes of a buffer. @returns a function: bytes accepted; -1: none, or an error */
  sender(from: Uint8Array): (fd: number, length: number) => number;
  readonly busyPoll: BusyPoll;
}

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

/** Null without a foreign function interface, or outside Linux. */
export function systemDirectIo(platform: NodeJS.Platform): DirectIo | null {
  const libc = loadLibC(platform);
  if (libc === null) return null;
  const recv = libc.bind('int64_t recv(int fd, uintptr_t bytes, size_t length, int flags)');
  const send = libc.bind('int64_t send(int fd, uintptr_t bytes, size_t length, int flags)');
  // An address is a constant of a closure: as a field of an object it would be boxed for each call.
  return {
    receiver: (into) => {
      const address = libc.addressOf(into);
      return (fd) => recv(fd, address, into.length, MSG_DONTWAIT);
    },
    sender: (from) => {
      const address = libc.addressOf(from);
      return (fd, length) =>
        send(fd, address, Math.min(length, from.length), MSG_DONTWAIT | MSG_NOSIGNAL);
    },
    busyPoll: systemBusyPoll(libc),
  };
}
