/** Facts of a made-up host, for tests of its metrics. */
import { BioOp } from '../../src/block/bio.ts';
import { Histogram } from '../../src/block/filters/histogram.ts';
import { hostCounters } from '../../src/host/counters.ts';
import type { DiskReport } from '../../src/host/list-document.ts';
import type { MetricsFacts } from '../../src/host/metric-family.ts';
import type { TmemUserReport } from '../../src/host/parts.ts';
import { type TlsRefusal, tlsRefusals } from '../../src/nbd/server/tls-upgrade.ts';

/** A disk whose figures all differ. */
export const diskReport = (name: string): DiskReport => ({
  name,
  readOnly: false,
  connections: 1,
  isFrozen: false,
  isPersistent: true,
  imageBytes: 61_440,
  adoptedPages: 29,
  rateBytes: 1_000_000,
  tls: 'require',
  allowedUids: [1000],
  allowedGids: null,
  uris: ['nbd://192.0.2.1:10809/a-uri'],
  vhostUserSocket: '',
  hostPid: 4711,
  hostControl: '/run/a-control-socket',
  algorithm: 'lz4',
  diskSizeBytes: 1_048_576,
  limitBytes: 524_288,
  storedPages: 31,
  dataBytes: 31 * 4096,
  compressedBytes: 50_001,
  usedBytes: 60_002,
  peakUsedBytes: 70_003,
  sameFilledPages: 7,
  zeroPages: 4,
  goodPages: 13,
  incompressiblePages: 5,
  compactedPages: 101,
  reads: 102,
  writes: 103,
  discards: 104,
  notifyFree: 105,
  missFree: 106,
  invalidIo: 107,
  failedReads: 0,
  failedWrites: 108,
  backingBytes: 8192,
  backingReads: 109,
  backingWrites: 110,
  backingDiscardedBytes: 12_288,
  backingFailures: 0,
  backingNoSpace: 0,
  backingMismatches: 0,
});

/** Latencies of a disk: two reads, one discard that is longer than all bounds. */
export function latencies(): { latency(op: BioOp): Histogram } {
  const histograms = Object.values(BioOp).map(() => new Histogram());
  histograms[BioOp.read]!.add(10_239);
  histograms[BioOp.read]!.add(10_240);
  histograms[BioOp.discard]!.add(2_000_000_000);
  return { latency: (op) => histograms[op]! };
}

const tmemUser: TmemUserReport = {
  uid: 1000,
  connections: 2,
  weight: 3,
  cap: 0,
  compress: true,
  isFrozen: true,
  ephemeralPages: 404,
  persistentPages: 405,
  compressedBytes: 400_006,
  puts: 407,
  gets: 408,
  evictedPages: 409,
  refusedPuts: 410,
  pools: [],
};

export function metricsFacts(changes: Partial<MetricsFacts> = {}): MetricsFacts {
  const counters = hostCounters();
  for (const [i, name] of counters.names.entries())
    if (!counters.specs[name].mustStayZero) counters.add(name, 201 + i);
  return {
    version: '1.2.3',
    uptimeSeconds: 60,
    uris: ['nbd://192.0.2.1:10809/a-uri'],
    counters,
    disks: [diskReport('swap0')],
    nbd: {
      connectionCount: 1,
      accepted: 301,
      refused: 302,
      dropped: 303,
      bytesIn: 304,
      bytesOut: 305,
      tls: {
        completed: 306,
        refused: Object.fromEntries(tlsRefusals.map((kind, i) => [kind, 310 + i])) as Record<
          TlsRefusal,
          number
        >,
      },
    },
    isReady: true,
    total: { usedBytes: 60_002, limitBytes: 1_000_000 },
    latencies: new Map([['swap0', latencies()]]),
    process: {
      cpuSeconds: 1.5,
      residentBytes: 80_000_000,
      heapBytes: 9_000_000,
      startSeconds: 1_700_000_000.25,
      openDescriptors: 21,
      maxDescriptors: Infinity,
    },
    eventLoop: { quantiles: [0, 0.001, 0.01, 0.125], sumSeconds: 2.5, count: 1000 },
    tmem: {
      limitBytes: 400_001,
      usedBytes: 400_002,
      freeableBytes: 400_003,
      ephemeralPages: 404,
      persistentPages: 405,
      users: [tmemUser],
    },
    ...changes,
  };
}
