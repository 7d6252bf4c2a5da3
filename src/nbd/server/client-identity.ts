/**
 * The identity of a client: the process of a Unix socket, or the address of a TCP connection. All connections of one QEMU
 * process have the same identity, also after a reconnect. Two guests on one machine have different identities over Unix
 * sockets, but the same over TCP.
 */
import { processText } from '../../os/linux/process-name.ts';

export interface ClientIdentity {
  /** Equal for connections of the same client. */
  readonly key: string;
  /** For messages. */
  text(): string;
}

/** @param count distinguishes connections of unknown processes (pid 0): each has its own identity */
export function processIdentity(pid: number, count: number): ClientIdentity {
  return pid > 0
    ? { key: `process ${pid}`, text: () => processText(pid) ?? `process ${pid}` }
    : { key: `connection ${count}`, text: () => `unix client ${count}` };
}

export function addressIdentity(address: string): ClientIdentity {
  return { key: `address ${address}`, text: () => `address ${address}` };
}
