/** The one place where the host's parts are joined to the real ones: which disk, which door. */
import type { CodecFactory } from '../codec/codec.ts';
import { lz4 } from '../codec/codec.ts';
import { Ramzswap } from '../device/ramzswap/ramzswap.ts';
import { systemPageReturn } from '../os/page-return.ts';
import { NbdServer } from './nbd-server.ts';
import type { HostParts } from './parts.ts';

const codecs: Readonly<Record<string, CodecFactory>> = { lz4 };

export function composeParts(): HostParts {
  const returns = systemPageReturn(process.platform);
  return {
    createDisk: ({ sizeBytes, limitBytes, codec }) =>
      new Ramzswap({
        sizeBytes,
        limitBytes,
        codec: { name: codec, factory: codecs[codec]! },
        returns,
      }),
    createDoor: ({ exports, maxClients, log }) =>
      new NbdServer({ exports, log, clientCountMax: maxClients }),
  };
}
