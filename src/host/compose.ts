/** Implements the host's interfaces with the real disk, NBD server and codec. */
import { SwapError } from '../base/errors.ts';
import { Ramzswap } from '../block/disks/ramzswap/ramzswap.ts';
import type { CodecFactory } from '../codec/codec.ts';
import { lz4 } from '../codec/lz4.ts';
import { NbdServer } from '../nbd/server/server.ts';
import { freeDescriptors, systemDuplicate } from '../os/linux/descriptors.ts';
import { systemHasHungUp } from '../os/linux/hang-up.ts';
import { systemHeapTrim } from '../os/linux/heap-trim.ts';
import { systemPageRelease } from '../os/linux/page-release.ts';
import { systemPeerCredentials } from '../os/linux/peer-credentials.ts';
import { loadNativeLz4 } from '../os/native-codec.ts';
import { boundYoungHeap } from '../os/young-heap.ts';
import { BackingFiles } from './backing-file.ts';
import type { HostParts, SwapDiskOptions } from './parts.ts';
import { SELF_TEST_DISK_BYTES, selfTest } from './self-test.ts';
import { createTmem } from './tmem-part.ts';
import { createVhostUser } from './vhost-user-part.ts';

/** Descriptors reserved for listeners, for connections of the control socket, and for refusing a client. */
const RESERVED_DESCRIPTORS = 16;

/** @throws SwapError ERR_ARG_VALUE: this machine lacks the library of the codec */
export function codecNamed(name: string): CodecFactory {
  if (name === 'lz4') return lz4;
  const { factory, reason } = loadNativeLz4();
  if (factory !== null) return factory;
  throw new SwapError('ERR_ARG_VALUE', `--codec ${name}: ${reason}; use --codec lz4`, {
    key: 'codec',
    value: name,
  });
}

/** @param isMainThread false: in a worker, which accepts no clients */
export function composeParts(isMainThread = true): HostParts {
  if (isMainThread) boundYoungHeap();
  const release = systemPageRelease(process.platform);
  const tested = new Set<string>();
  const backings = new BackingFiles(process.geteuid?.() ?? 0);
  const open = ({ codec: name, backing: path, ...rest }: SwapDiskOptions): Ramzswap => {
    const codec = { name, factory: codecNamed(name) };
    if (path === undefined) {
      rest.images?.useBacking('');
      return new Ramzswap({ ...rest, codec, release });
    }
    const { disk, identity } = backings.open(path, rest.sizeBytes);
    try {
      rest.images?.useBacking(identity);
      return new Ramzswap({
        ...rest,
        codec,
        release,
        backing: { disk, showsOldData: false },
      });
    } catch (error) {
      disk[Symbol.dispose]();
      throw error;
    }
  };
  const peer = systemPeerCredentials(process.platform);
  const hasHungUp = systemHasHungUp(process.platform);
  return {
    createDisk: (options) => {
      const { sizeBytes, codec } = options;
      if (!tested.has(codec)) {
        using disk = open({ sizeBytes: SELF_TEST_DISK_BYTES, limitBytes: 0, codec });
        if (options.images === undefined) selfTest(disk);
        else selfTest(disk, 2); // clients may be waiting for a host that was killed
        tested.add(codec);
      }
      try {
        return open(options);
      } catch (cause) {
        if (!(cause instanceof RangeError)) throw cause;
        throw new SwapError(
          'ERR_IO_SYSTEM',
          'not enough address space for the memory of a disk (3 GiB per 2 GiB of memory): raise ulimit -v, ' +
            'set vm.overcommit_memory to 0 or 1, or serve smaller or fewer disks',
          { sizeBytes },
          { cause },
        );
      }
    },
    createNbd: ({ exports, limits, tls, visits, log, trace }) => {
      const { maxClients } = limits;
      const clientCountMax = Math.max(
        1,
        isMainThread ? Math.min(maxClients, freeDescriptors() - RESERVED_DESCRIPTORS) : maxClients,
      );
      if (clientCountMax < maxClients)
        log(
          `at most ${clientCountMax} clients, not ${maxClients}: the limit of open files is too low; ` +
            'raise it (ulimit -Hn, LimitNOFILE=) or lower --max-clients',
        );
      return new NbdServer({
        ...{ exports, log, trace, clientCountMax, peer, hasHungUp, tls, visits },
        duplicate: visits === null ? null : systemDuplicate(process.platform),
        requestsMax: limits.maxRequests,
        outputBytes: limits.maxOutputBytes,
        negotiatingMax: limits.maxHandshakes,
        acceptsPerSecond: limits.acceptRate,
        negotiationMs: limits.handshakeSeconds * 1000,
      });
    },
    createTmem: (options) => createTmem(options, release),
    createVhostUser,
    trim: systemHeapTrim(process.platform),
  };
}
