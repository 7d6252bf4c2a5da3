/** The one place where the host's parts are joined to the real ones: which disk, which door, which codec. */
import { SwapError } from '../base/errors.ts';
import type { CodecFactory } from '../codec/codec.ts';
import { lz4 } from '../codec/lz4.ts';
import { Ramzswap } from '../device/ramzswap/ramzswap.ts';
import { loadNativeLz4 } from '../os/native-codec.ts';
import { systemPageReturn } from '../os/page-return.ts';
import { NbdServer } from './nbd-server.ts';
import type { HostParts } from './parts.ts';

/** @throws SwapError ERR_ARG_VALUE where this machine lacks the library */
function codecNamed(name: string): CodecFactory {
  if (name === 'lz4') return lz4;
  const { factory, reason } = loadNativeLz4();
  if (factory !== null) return factory;
  throw new SwapError('ERR_ARG_VALUE', `--codec ${name}: ${reason}; use --codec lz4`, {
    key: 'codec',
    value: name,
  });
}

export function composeParts(): HostParts {
  const returns = systemPageReturn(process.platform);
  return {
    createDisk: ({ sizeBytes, limitBytes, codec }) =>
      new Ramzswap({
        sizeBytes,
        limitBytes,
        codec: { name: codec, factory: codecNamed(codec) },
        returns,
      }),
    createDoor: ({ exports, maxClients, log }) =>
      new NbdServer({ exports, log, clientCountMax: maxClients }),
  };
}
