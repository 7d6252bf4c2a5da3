/**
 * Who a client is, as far as a socket tells: the process that opened a Unix socket, the address that a TCP connection
 * comes from. All connections of one QEMU have one identity, and so has its reconnect; two guests on one machine have two by
 * Unix sockets and one by TCP.
 */
import { processText } from '../../os/linux/process-name.ts';

export interface ClientIdentity {
  /** Equal for connections of the same client. */
  readonly key: string;
  /** For messages. */
  text(): string;
}

/** @param count tells connections apart whose process is unknown (0): none of them is taken for another */
export function processIdentity(pid: number, count: number): ClientIdentity {
  return pid > 0
    ? { key: `process ${pid}`, text: () => processText(pid) ?? `process ${pid}` }
    : { key: `connection ${count}`, text: () => `unix client ${count}` };
}

export function addressIdentity(address: string): ClientIdentity {
  return { key: `address ${address}`, text: () => `address ${address}` };
}
