/**
 * The environment variables that systemd sets for a service: sockets that it opened (sd_listen_fds(3)), the socket for
 * notifications (sd_notify(3)) and the watchdog (sd_watchdog_enabled(3)).
 *
 *   LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES   descriptors from 3 on are listening sockets; their names
 *   NOTIFY_SOCKET                            see service-notifier.ts
 *   WATCHDOG_USEC, WATCHDOG_PID              see service-notifier.ts
 *
 * They are for this process only: the host removes them from its environment before it starts a child.
 */
import { statSync } from 'node:fs';
import { SwapError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { findListener } from '../os/linux/listening-socket.ts';
import { loadLinux } from '../os/linux/system-call.ts';
import type { Log } from './parts.ts';
import type { Environment } from './runtime-folder.ts';
import { isLoopback, type NbdAddress } from './uri.ts';

export const serviceVariables = [
  'LISTEN_PID',
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID',
] as const;

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;
/** A larger number is a wrong value, not a number of sockets. */
const SOCKETS_MAX = 1024;

/** A listening socket that the service manager opened. It belongs to the manager: its file is never removed here. */
export interface PassedSocket {
  readonly fd: number;
  readonly address: NbdAddress;
}

const invalid = (name: string, value: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${name}: '${printable(value)}' ${why}`, { key: name, value });

/** A positive whole number. */
const isCount = (text: string): boolean => /^[1-9][0-9]{0,14}$/.test(text);

/**
 * The sockets that were passed to this process; none without LISTEN_FDS, or if LISTEN_PID names another process.
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_UNSUPPORTED
 */
export function passedSockets(env: Environment, pid: number, log: Log): readonly PassedSocket[] {
  const { LISTEN_FDS: fds, LISTEN_PID: owner, LISTEN_FDNAMES: names } = env;
  if (fds === undefined) return [];
  if (owner === undefined)
    throw new SwapError(
      'ERR_ARG_VALUE',
      'LISTEN_FDS is set without LISTEN_PID: set both, or neither',
      { key: 'LISTEN_PID' },
    );
  if (!isCount(owner)) throw invalid('LISTEN_PID', owner, 'is not a process id');
  if (Number(owner) !== pid) {
    log(`LISTEN_FDS is for process ${owner}, not for this one, ${pid}: its sockets are not used`);
    return [];
  }
  if (!isCount(fds) || Number(fds) > SOCKETS_MAX)
    throw invalid('LISTEN_FDS', fds, `is not a number of sockets, 1 to ${SOCKETS_MAX}`);
  const named = names?.split(':') ?? [];
  if (names !== undefined && named.length !== Number(fds))
    throw invalid('LISTEN_FDNAMES', names, `has ${named.length} names, but LISTEN_FDS is ${fds}`);
  const { linux, reason } = loadLinux();
  if (linux === null)
    throw new SwapError(
      'ERR_IO_UNSUPPORTED',
      `LISTEN_FDS: sockets of systemd cannot be used: ${reason}; remove the .socket unit, and use --unix or --port`,
      { key: 'LISTEN_FDS', reason },
    );
  return Array.from({ length: Number(fds) }, (_, i) => {
    const fd = FIRST_FD + i;
    const { address, reason: why } = findListener(linux, fd);
    if (address !== null) return { fd, address };
    const name = named[i] === undefined ? '' : ` ('${printable(named[i])}')`;
    throw new SwapError(
      'ERR_ARG_VALUE',
      `LISTEN_FDS: descriptor ${fd}${name} ${why}; the .socket unit needs ListenStream= with a path or a TCP port, and Accept=no`,
      { key: 'LISTEN_FDS', fd },
    );
  });
}

/**
 * Warnings about passed sockets that others can reach.
 * @param unprotected what protection connections over TCP lack
 */
export function passedSocketWarnings(
  sockets: readonly PassedSocket[],
  unprotected: string,
): string[] {
  return sockets.flatMap(({ address }) => {
    if (address.kind === 'tcp')
      return isLoopback(address.host)
        ? []
        : [
            `anyone who can reach ${address.host} port ${address.port} can read what guests swapped out; ${unprotected}`,
          ];
    const mode = statSync(address.path, { throwIfNoEntry: false })?.mode ?? 0;
    return (mode & 0o007) === 0
      ? []
      : [
          `every user of this machine who can reach ${address.path} can read what guests swapped out; ` +
            'SocketMode=0660 in the .socket unit limits access to a group',
        ];
  });
}
