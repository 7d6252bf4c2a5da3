/** The vhost-user socket of a disk, as a part of a host. */
import { VhostUserServer } from '../vhost-user/server.ts';
import { BlockDevice } from '../virtio/block-device.ts';
import type { VhostUserFrontEnd, VhostUserFrontEndOptions } from './parts.ts';

/** QEMU asks for one per processor of the guest. */
const QUEUES = 16;
/** The serial of a virtio disk. */
const SERIAL_BYTES = 20;

/** @throws SwapError ERR_IO_UNSUPPORTED */
export function createVhostUser({
  name,
  exportNow,
  generation,
  nbdClients,
  ...reporters
}: VhostUserFrontEndOptions): VhostUserFrontEnd {
  const serial = name.slice(0, SERIAL_BYTES);
  return new VhostUserServer({
    ...reporters,
    name,
    exportNow: () => {
      const served = exportNow();
      if (served === undefined) return null;
      const { disk, access = null, gate = null } = served;
      const busy = nbdClients() === 0 ? null : 'the disk is in use by a client of NBD';
      return {
        ...{ access, gate, busy, generation: generation() },
        createDevice: (onIdle) => new BlockDevice({ disk, onIdle, serial, queues: QUEUES }),
      };
    },
  });
}
