/**
 * Checks whether the peer of a connected socket has disconnected, without reading from the socket: a paused socket of Node does
 * not report its end. Source: poll(2), POLLRDHUP.
 */
import { Poller, Ready } from './poll.ts';
import { loadLinux } from './system-call.ts';

/** By file descriptor. Always false without a foreign function interface, or outside Linux. */
export function systemHasHungUp(platform: NodeJS.Platform): (fd: number) => boolean {
  const { linux } = loadLinux(platform);
  if (linux === null) return () => false;
  const poller = new Poller(linux, [], Ready.readHangUp, 1);
  return (fd) => {
    poller.set(0, fd);
    return poller.wait(0) > 0;
  };
}
