/**
 * The metrics of a host, as one table of families, and their text (exposition.ts).
 *
 * Labels have few values: `disk` is a name from the configuration, and the values of other labels are in this file. The text
 * contains nothing that a client sent, and no contents of pages.
 *
 * A disk family has a sample for each disk. A host family has one sample, or one for each value of its label. The sum over a
 * label is a total: the classes of stored bytes add up to all stored bytes.
 *
 * Cost of 256 disks with latencies of all five operations, 34,000 lines or 2.8 MB: a scrape takes 18 ms of processor time
 * (median of 35; the first one 52 ms). During a scrape the longest turn of the event loop takes 2.9 ms (median; 90 % below 6
 * ms, 14 ms at most; 9 ms in the first scrape, before V8 has compiled the code): metricsParts() divides the text, and the
 * server renders, encodes and sends it in slices of 1 ms (2 ms when this was measured). Processor time is that of all threads,
 * measured with Node 20 on a virtual machine with two processors.
 *
 * Sources: Prometheus docs "Metric and label naming" and "Writing client libraries" (the names process_*).
 */

import { BioOp } from '../block/bio.ts';
import { tlsRefusals } from '../nbd/server/tls-upgrade.ts';
import { endLine, formatNumber, label, type MetricsFormat, Samples } from './exposition.ts';
import { violatedCounters } from './health.ts';
import type { DiskReport } from './list-document.ts';
import {
  counter,
  disk,
  diskBy,
  type Family,
  gauge,
  host,
  type MetricsFacts,
  nbd,
  ofProcess,
} from './metric-family.ts';
import { delayQuantiles } from './process-figures.ts';
import { tmemFamilies } from './tmem-metrics.ts';

const PAGE_BYTES = 4096;
const NS_PER_SECOND = 1e9;

/** Upper bounds of latencies, ns: 10.24 us to 1.34 s. Each one is the smallest value of a bucket of Histogram. */
const boundsNs: readonly number[] = Array.from({ length: 18 }, (_, i) => 10_240 * 2 ** i);
/** The label `le` of each bucket. In OpenMetrics no bound may look like a whole number; none of these does. */
const boundLabels = [
  ...boundsNs.map((ns) => label('le', formatNumber(ns / NS_PER_SECOND))),
  label('le', '+Inf'),
];
const counts = new Float64Array(boundsNs.length);

const opLabels: readonly (readonly [BioOp, string])[] = [
  [BioOp.read, label('op', 'read')],
  [BioOp.write, label('op', 'write')],
  [BioOp.discard, label('op', 'discard')],
  [BioOp.writeZeroes, label('op', 'write_zeroes')],
  [BioOp.flush, label('op', 'flush')],
];

function writeLatencies(
  out: Samples,
  labels: string,
  { name }: DiskReport,
  { latencies }: MetricsFacts,
): void {
  const filter = latencies.get(name);
  if (filter === undefined) return;
  for (const [op, opLabel] of opLabels) {
    const histogram = filter.latency(op);
    if (histogram.count === 0) continue;
    histogram.countsBelow(boundsNs, counts);
    const sum = histogram.sum / NS_PER_SECOND;
    const { count } = histogram;
    out.addHistogram(`${labels},${opLabel}`, boundLabels, counts, { sum, count });
  }
}

function writeEventLoop(out: Samples, { eventLoop }: MetricsFacts): void {
  if (eventLoop === null) return;
  for (const [i, q] of delayQuantiles.entries())
    out.add(label('quantile', q === 1 ? '1.0' : String(q)), eventLoop.quantiles[i] ?? NaN);
  out.addPart('_sum', '', eventLoop.sumSeconds);
  out.addPart('_count', '', eventLoop.count);
}

const storedClasses: Readonly<Record<string, (report: DiskReport) => number>> = {
  zero: (d) => d.zeroPages * PAGE_BYTES,
  same_filled: (d) => (d.sameFilledPages - d.zeroPages) * PAGE_BYTES,
  good: (d) => d.goodPages * PAGE_BYTES,
  fair: (d) =>
    (d.storedPages - d.sameFilledPages - d.goodPages - d.incompressiblePages) * PAGE_BYTES,
  incompressible: (d) => d.incompressiblePages * PAGE_BYTES,
};

const hostFamilies: readonly Family[] = [
  {
    ...host(
      'build_info',
      gauge('', 'Always 1. The labels are the version and that of Node.'),
      () => 1,
    ),
    of: 'host',
    labels: ['version', 'node_version'],
    write: (out, { version }) =>
      out.add(`${label('version', version)},${label('node_version', process.version)}`, 1),
  },
  host(
    'violated_counters',
    gauge('', 'Counters that must stay 0 and are not; /healthz names them.'),
    (facts) => violatedCounters(facts).length,
  ),
  host(
    'host_memory_used_bytes',
    gauge('bytes', 'Memory of all disks together, metadata included.'),
    ({ total }) => total.usedBytes,
  ),
  host(
    'host_memory_limit_bytes',
    gauge('bytes', 'Limit of the memory of all disks together; 0: none.'),
    ({ total }) => total.limitBytes,
  ),
  {
    ...host(
      'http_requests',
      counter('', 'Requests to the control socket, for metrics and to the dashboard.'),
      () => 0,
    ),
    of: 'host',
    labels: ['server', 'result'],
    write: (out, { counters }) => {
      for (const server of ['control', 'metrics', 'dashboard'] as const) {
        const labels = label('server', server);
        out.add(`${labels},${label('result', 'accepted')}`, counters.get(`${server}Requests`));
        out.add(`${labels},${label('result', 'refused')}`, counters.get(`${server}Refusals`));
      }
    },
  },
  host('compaction_passes', counter('', 'Compactions of an idle disk.'), ({ counters }) =>
    counters.get('compactionPasses'),
  ),
  host(
    'stopped_disks',
    counter('', 'Disks that a broken invariant has stopped; must stay 0.'),
    ({ counters }) => counters.get('stoppedDisks'),
  ),
  host(
    'refused_images',
    counter(
      '',
      'Images of --persist that were not usable; their pages are not served. Must stay 0.',
    ),
    ({ counters }) => counters.get('refusedImages'),
  ),
  nbd('connections', gauge('', 'Clients connected to the NBD server.'), (s) => s.connectionCount),
  nbd('accepted_connections', counter('', 'Clients accepted.'), (s) => s.accepted),
  nbd(
    'refused_connections',
    counter('', 'Clients refused at the limit of connections.'),
    (s) => s.refused,
  ),
  nbd(
    'dropped_connections',
    counter('', 'Clients disconnected by the host or after an error.'),
    (s) => s.dropped,
  ),
  host('tls_handshakes', counter('', 'TLS handshakes completed.'), ({ nbd: stats }) =>
    stats?.tls == null ? null : stats.tls.completed,
  ),
  {
    ...host(
      'tls_refused_handshakes',
      counter(
        '',
        'TLS handshakes that failed. Reasons: no_certificate, bad_certificate, wrong_key, not_tls, disconnected, ' +
          'timeout, limit (too many at a time), other.',
      ),
      () => 0,
    ),
    of: 'host',
    labels: ['reason'],
    write: (out, { nbd: stats }) => {
      if (stats?.tls == null) return;
      for (const reason of tlsRefusals) out.add(label('reason', reason), stats.tls.refused[reason]);
    },
  },
  nbd('received_bytes', counter('bytes', 'Bytes received from clients.'), (s) => s.bytesIn),
  nbd('sent_bytes', counter('bytes', 'Bytes sent to clients.'), (s) => s.bytesOut),
];

const diskFamilies: readonly Family[] = [
  {
    ...disk('disk_info', gauge('', 'Always 1. The labels are properties of the disk.'), () => 1),
    of: 'disk',
    labels: ['algorithm', 'read_only'],
    write: (out, labels, { algorithm, readOnly }) =>
      out.add(
        `${labels},${label('algorithm', algorithm)},${label('read_only', String(readOnly))}`,
        1,
      ),
  },
  disk(
    'disk_size_bytes',
    gauge('bytes', 'Size of the disk as clients see it.'),
    (d) => d.diskSizeBytes,
  ),
  disk('connections', gauge('', 'Clients that have the disk open.'), (d) => d.connections),
  disk(
    'frozen',
    gauge('', 'Whether the disk is frozen, so that its requests wait: 1 or 0.'),
    (d) => (d.isFrozen ? 1 : 0),
  ),
  disk('persistent', gauge('', 'Whether the pages of the disk outlive the host: 1 or 0.'), (d) =>
    d.isPersistent ? 1 : 0,
  ),
  disk(
    'image_bytes',
    gauge('bytes', 'Memory of the image file of the disk; 0: none.'),
    (d) => d.imageBytes,
  ),
  disk(
    'adopted_pages',
    gauge('pages', 'Pages that the image had when the host added the disk.'),
    (d) => d.adoptedPages,
  ),
  disk(
    'rate_limit_bytes',
    gauge('bytes', 'Bytes per second that clients may send and receive; 0: any.'),
    (d) => d.rateBytes,
  ),
  diskBy(
    'stored_bytes',
    gauge(
      'bytes',
      'Stored pages in RAM, before compression. Classes: zero; same_filled (another value); ' +
        'good (at most half a page compressed); fair; incompressible.',
    ),
    'class',
    storedClasses,
  ),
  disk(
    'compressed_bytes',
    gauge('bytes', 'Stored pages in RAM, after compression.'),
    (d) => d.compressedBytes,
  ),
  disk(
    'memory_used_bytes',
    gauge('bytes', 'Memory of the disk, metadata and gaps included.'),
    (d) => d.usedBytes,
  ),
  disk(
    'memory_peak_bytes',
    gauge('bytes', 'Maximum of the used memory plus freed memory that was not released yet.'),
    (d) => d.peakUsedBytes,
  ),
  disk(
    'memory_limit_bytes',
    gauge('bytes', 'Limit of the used memory; 0: none.'),
    (d) => d.limitBytes,
  ),
  disk(
    'compacted_pages',
    counter('pages', 'Pages of memory that compaction released.'),
    (d) => d.compactedPages,
  ),
  diskBy(
    'requests',
    counter(
      '',
      'Requests at the disk; a request of a client becomes one or more. discard includes write_zeroes.',
    ),
    'op',
    { read: (d) => d.reads, write: (d) => d.writes, discard: (d) => d.discards },
  ),
  disk(
    'freed_pages',
    counter('pages', 'Pages freed by discard and write-zeroes.'),
    (d) => d.notifyFree,
  ),
  disk(
    'free_misses',
    counter('', 'Frees of slots outside the disk, or with a request in flight.'),
    (d) => d.missFree,
  ),
  diskBy(
    'refusals',
    counter(
      '',
      'Requests refused. Reasons: full (a write at the limit, or one that failed on the backing); ' +
        'invalid (outside the disk, or malformed).',
    ),
    'reason',
    { full: (d) => d.failedWrites, invalid: (d) => d.invalidIo },
  ),
  disk(
    'failed_reads',
    counter(
      '',
      'Requests for a page that is damaged or that the backing failed to read; must stay 0.',
    ),
    (d) => d.failedReads,
  ),
  disk(
    'backing_stored_bytes',
    gauge('bytes', 'Pages that are on the backing and not in RAM.'),
    (d) => d.backingBytes,
  ),
  diskBy('backing_pages', counter('pages', 'Pages read from and written to the backing.'), 'op', {
    read: (d) => d.backingReads,
    write: (d) => d.backingWrites,
  }),
  disk(
    'backing_discarded_bytes',
    counter('bytes', 'Bytes discarded on the backing.'),
    (d) => d.backingDiscardedBytes,
  ),
  diskBy(
    'backing_failures',
    counter(
      '',
      'Requests that failed on the backing, for lack of space or with an error; must stay 0.',
    ),
    'reason',
    { no_space: (d) => d.backingNoSpace, error: (d) => d.backingFailures - d.backingNoSpace },
  ),
  disk(
    'backing_mismatches',
    counter(
      '',
      'Pages that the backing returned with contents other than those written; must stay 0.',
    ),
    (d) => d.backingMismatches,
  ),
  {
    name: 'frontswap_operation_duration_seconds',
    type: 'histogram',
    unit: 'seconds',
    help: 'Time from the arrival of a request at the disk to its end, by operation.',
    of: 'disk',
    labels: ['op', 'le'],
    write: writeLatencies,
  },
];

const processFamilies: readonly Family[] = [
  ofProcess('cpu_seconds', counter('seconds', 'Processor time of the host.'), (p) => p.cpuSeconds),
  ofProcess(
    'resident_memory_bytes',
    gauge('bytes', 'Resident memory of the host.'),
    (p) => p.residentBytes,
  ),
  ofProcess(
    'heap_bytes',
    gauge('bytes', 'Heap of V8; stored pages are outside it.'),
    (p) => p.heapBytes,
  ),
  ofProcess(
    'start_time_seconds',
    gauge('seconds', 'Start of the host, Unix time.'),
    (p) => p.startSeconds,
  ),
  ofProcess('open_fds', gauge('', 'Open file descriptors.'), (p) => p.openDescriptors),
  ofProcess('max_fds', gauge('', 'Limit of open file descriptors.'), (p) => p.maxDescriptors),
  {
    name: 'frontswap_event_loop_delay_seconds',
    type: 'summary',
    unit: 'seconds',
    help: 'How late the event loop runs a timer, as quantiles of the last ten seconds. Guests wait during this time.',
    of: 'host',
    labels: ['quantile'],
    write: writeEventLoop,
  },
];

/** Every family, in the order of the text. docs/reference/metrics.md lists the same. */
export const metricFamilies: readonly Family[] = [
  ...hostFamilies,
  ...diskFamilies,
  ...tmemFamilies,
  ...processFamilies,
];

/** Lines of a part of the text, except the last part of a family. */
const PART_LINES = 256;

/** The text in parts. Each part takes a fraction of a millisecond, so that a server can serve guests in between. */
export function* metricsParts(facts: MetricsFacts, format: MetricsFormat): Generator<string> {
  const disks = facts.disks.map((report) => ({ report, labels: label('disk', report.name) }));
  for (const family of metricFamilies) {
    const out = new Samples(family, format);
    if (family.of === 'host') family.write(out, facts);
    else
      for (const { report, labels } of disks) {
        family.write(out, labels, report, facts);
        if (out.lineCount >= PART_LINES) yield out.take();
      }
    yield out.take();
  }
  yield endLine[format];
}

/** The metrics of a host as text; contentTypes has the media type of the format. */
export const metricsText = (facts: MetricsFacts, format: MetricsFormat): string =>
  [...metricsParts(facts, format)].join('');
