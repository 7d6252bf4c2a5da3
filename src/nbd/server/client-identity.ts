/**
 * The identity of a client: the process of a Unix socket, or the address of a TCP connection. All connections of one QEMU
 * process have the same identity, even after a reconnect. Two guests on one machine have different identities over Unix
 * sockets, but the same over TCP.
 */
import { processText } from '../../os/linux/process-name.ts';

export interface ClientIdentity {
  /** Process of a Unix client; 0: unknown, or a client on TCP. */
  readonly pid: number;
  /** Equal for connections of the same client. */
  readonly key: string;
  /** The origin by which clients share handshakes: a user of this machine, or a network address. */
  readonly origin: string;
  /** For messages. */
  text(): string;
}

/**
 * @param uid the user of the process; null: unknown
 * @param count distinguishes connections of unknown processes (pid 0): each has its own identity
 */
export function processIdentity(pid: number, uid: number | null, count: number): ClientIdentity {
  const origin = `user ${uid ?? 'unknown'}`;
  return pid > 0
    ? { pid, key: `process ${pid}`, origin, text: () => processText(pid) ?? `process ${pid}` }
    : { pid: 0, key: `connection ${count}`, origin, text: () => `unix client ${count}` };
}

/** An identity as a value that can be sent to another thread. */
export interface IdentityValue extends Pick<ClientIdentity, 'pid' | 'key' | 'origin'> {
  /** Text for messages; null: that of the process. */
  readonly label: string | null;
}

export const identityValueOf = ({ pid, key, origin, text }: ClientIdentity): IdentityValue => ({
  ...{ pid, key, origin },
  label: pid > 0 ? null : text(),
});

export const identityOf = ({ pid, key, origin, label }: IdentityValue): ClientIdentity => ({
  ...{ pid, key, origin },
  text: () => label ?? processText(pid) ?? key,
});

export function addressIdentity(address: string): ClientIdentity {
  const origin = `address ${networkOf(address)}`;
  return { pid: 0, key: `address ${address}`, origin, text: () => `address ${address}` };
}

/** An IPv4 address, or the first 64 bits of an IPv6 address: a client controls all addresses with that prefix. */
function networkOf(address: string): string {
  const [, ipv4] = /^::ffff:([0-9.]+)$/i.exec(address) ?? [];
  if (ipv4 !== undefined || !address.includes(':')) return ipv4 ?? address;
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::');
  const groups = head === '' ? [] : head.split(':');
  const behind = tail === undefined || tail === '' ? [] : tail.split(':');
  while (tail !== undefined && groups.length + behind.length < 8) groups.push('0');
  return [...groups, ...behind].slice(0, 4).join(':');
}
