/** The metrics of a host: their text, and that no figure is missing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Histogram } from '../../src/block/filters/histogram.ts';
import { hostCounters } from '../../src/host/counters.ts';
import type { DiskReport } from '../../src/host/list-document.ts';
import { metricFamilies, metricsParts, metricsText } from '../../src/host/metrics.ts';
import { tlsRefusals } from '../../src/nbd/server/tls-upgrade.ts';
import { diskReport, latencies, metricsFacts } from './metrics-facts.ts';

/** The samples of a text, without comments. */
const samplesOf = (text: string): string[] =>
  text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

/** The lines of one family. */
const linesOf = (text: string, name: string): string[] =>
  text.split('\n').filter((line) => line.replace(/^# \w+ /, '').startsWith(name));

test('the text of a host with one disk has the expected samples', () => {
  const samples = samplesOf(metricsText(metricsFacts(), 'text')).filter(
    (line) => !line.includes('_duration_'),
  );
  assert.deepEqual(samples, [
    `frontswap_build_info{version="1.2.3",node_version="${process.version}"} 1`,
    'frontswap_violated_counters 0',
    'frontswap_host_memory_used_bytes 60002',
    'frontswap_host_memory_limit_bytes 1000000',
    'frontswap_http_requests_total{server="control",result="accepted"} 201',
    'frontswap_http_requests_total{server="control",result="refused"} 202',
    'frontswap_http_requests_total{server="metrics",result="accepted"} 203',
    'frontswap_http_requests_total{server="metrics",result="refused"} 204',
    'frontswap_http_requests_total{server="dashboard",result="accepted"} 207',
    'frontswap_http_requests_total{server="dashboard",result="refused"} 208',
    'frontswap_compaction_passes_total 205',
    'frontswap_stopped_disks_total 0',
    'frontswap_refused_images_total 0',
    'frontswap_nbd_connections 1',
    'frontswap_nbd_accepted_connections_total 301',
    'frontswap_nbd_refused_connections_total 302',
    'frontswap_nbd_dropped_connections_total 303',
    'frontswap_tls_handshakes_total 306',
    ...tlsRefusals.map(
      (reason, i) => `frontswap_tls_refused_handshakes_total{reason="${reason}"} ${310 + i}`,
    ),
    'frontswap_nbd_received_bytes_total 304',
    'frontswap_nbd_sent_bytes_total 305',
    'frontswap_disk_info{disk="swap0",algorithm="lz4",read_only="false"} 1',
    'frontswap_disk_size_bytes{disk="swap0"} 1048576',
    'frontswap_connections{disk="swap0"} 1',
    'frontswap_frozen{disk="swap0"} 0',
    'frontswap_persistent{disk="swap0"} 1',
    'frontswap_image_bytes{disk="swap0"} 61440',
    'frontswap_adopted_pages{disk="swap0"} 29',
    'frontswap_rate_limit_bytes{disk="swap0"} 1000000',
    'frontswap_stored_bytes{disk="swap0",class="zero"} 16384',
    'frontswap_stored_bytes{disk="swap0",class="same_filled"} 12288',
    'frontswap_stored_bytes{disk="swap0",class="good"} 53248',
    'frontswap_stored_bytes{disk="swap0",class="fair"} 24576',
    'frontswap_stored_bytes{disk="swap0",class="incompressible"} 20480',
    'frontswap_compressed_bytes{disk="swap0"} 50001',
    'frontswap_memory_used_bytes{disk="swap0"} 60002',
    'frontswap_memory_peak_bytes{disk="swap0"} 70003',
    'frontswap_memory_limit_bytes{disk="swap0"} 524288',
    'frontswap_compacted_pages_total{disk="swap0"} 101',
    'frontswap_requests_total{disk="swap0",op="read"} 102',
    'frontswap_requests_total{disk="swap0",op="write"} 103',
    'frontswap_requests_total{disk="swap0",op="discard"} 104',
    'frontswap_freed_pages_total{disk="swap0"} 105',
    'frontswap_free_misses_total{disk="swap0"} 106',
    'frontswap_refusals_total{disk="swap0",reason="full"} 108',
    'frontswap_refusals_total{disk="swap0",reason="invalid"} 107',
    'frontswap_failed_reads_total{disk="swap0"} 0',
    'frontswap_backing_stored_bytes{disk="swap0"} 8192',
    'frontswap_backing_pages_total{disk="swap0",op="read"} 109',
    'frontswap_backing_pages_total{disk="swap0",op="write"} 110',
    'frontswap_backing_discarded_bytes_total{disk="swap0"} 12288',
    'frontswap_backing_failures_total{disk="swap0",reason="no_space"} 0',
    'frontswap_backing_failures_total{disk="swap0",reason="error"} 0',
    'frontswap_backing_mismatches_total{disk="swap0"} 0',
    'frontswap_tmem_memory_used_bytes 400002',
    'frontswap_tmem_memory_limit_bytes 400001',
    'frontswap_tmem_freeable_bytes 400003',
    'frontswap_tmem_connections{uid="1000"} 2',
    'frontswap_tmem_frozen{uid="1000"} 1',
    'frontswap_tmem_stored_pages{uid="1000",kind="ephemeral"} 404',
    'frontswap_tmem_stored_pages{uid="1000",kind="persistent"} 405',
    'frontswap_tmem_compressed_bytes{uid="1000"} 400006',
    'frontswap_tmem_puts_total{uid="1000",result="stored"} 407',
    'frontswap_tmem_puts_total{uid="1000",result="refused"} 410',
    'frontswap_tmem_gets_total{uid="1000"} 408',
    'frontswap_tmem_evicted_pages_total{uid="1000"} 409',
    'process_cpu_seconds_total 1.5',
    'process_resident_memory_bytes 80000000',
    'process_heap_bytes 9000000',
    'process_start_time_seconds 1700000000.25',
    'process_open_fds 21',
    'process_max_fds +Inf',
    'frontswap_event_loop_delay_seconds{quantile="0.5"} 0',
    'frontswap_event_loop_delay_seconds{quantile="0.9"} 0.001',
    'frontswap_event_loop_delay_seconds{quantile="0.99"} 0.01',
    'frontswap_event_loop_delay_seconds{quantile="1.0"} 0.125',
    'frontswap_event_loop_delay_seconds_sum 2.5',
    'frontswap_event_loop_delay_seconds_count 1000',
  ]);
});

test('the two formats differ in comments and in the last line only', () => {
  const text = metricsText(metricsFacts(), 'text');
  const open = metricsText(metricsFacts(), 'openMetrics');
  assert.deepEqual(samplesOf(text), samplesOf(open));
  assert.ok(open.endsWith('\n# EOF\n') && !text.includes('# EOF'));
  assert.deepEqual(linesOf(text, 'frontswap_nbd_sent_bytes'), [
    '# HELP frontswap_nbd_sent_bytes_total Bytes sent to clients.',
    '# TYPE frontswap_nbd_sent_bytes_total counter',
    'frontswap_nbd_sent_bytes_total 305',
  ]);
  assert.deepEqual(linesOf(open, 'frontswap_nbd_sent_bytes'), [
    '# TYPE frontswap_nbd_sent_bytes counter',
    '# UNIT frontswap_nbd_sent_bytes bytes',
    '# HELP frontswap_nbd_sent_bytes Bytes sent to clients.',
    'frontswap_nbd_sent_bytes_total 305',
  ]);
});

const bounds = [
  ...['0.00001024', '0.00002048', '0.00004096', '0.00008192', '0.00016384', '0.00032768'],
  ...['0.00065536', '0.00131072', '0.00262144', '0.00524288', '0.01048576', '0.02097152'],
  ...['0.04194304', '0.08388608', '0.16777216', '0.33554432', '0.67108864', '1.34217728', '+Inf'],
];

test('latencies are cumulative counts in seconds; an operation that never ran has none', () => {
  const lines = linesOf(metricsText(metricsFacts(), 'text'), 'frontswap_operation_duration');
  const name = 'frontswap_operation_duration_seconds';
  const bucketLines = (op: string, want: (at: number) => number): string[] =>
    bounds.map((le, at) => `${name}_bucket{disk="swap0",op="${op}",le="${le}"} ${want(at)}`);
  assert.deepEqual(lines.slice(2), [
    ...bucketLines('read', (at) => (at === 0 ? 1 : 2)),
    `${name}_sum{disk="swap0",op="read"} 0.000020479`,
    `${name}_count{disk="swap0",op="read"} 2`,
    ...bucketLines('discard', (at) => (at === 18 ? 1 : 0)),
    `${name}_sum{disk="swap0",op="discard"} 2`,
    `${name}_count{disk="swap0",op="discard"} 1`,
  ]);
});

test('disks are distinguished by name in every family that is about disks', () => {
  const disks = [diskReport('a'), { ...diskReport('b'), readOnly: true }];
  const both = new Map([
    ['a', latencies()],
    ['b', latencies()],
  ]);
  const text = metricsText(metricsFacts({ disks, latencies: both }), 'text');
  const labelled = samplesOf(text).filter((line) => line.includes('disk="'));
  const ofA = labelled.filter((line) => line.includes('disk="a"'));
  const ofB = labelled.filter((line) => line.includes('disk="b"'));
  assert.equal(ofA.length + ofB.length, labelled.length);
  assert.deepEqual(
    ofA.map((line) => line.replace('disk="a"', '').replace('"false"', '"true"')),
    ofB.map((line) => line.replace('disk="b"', '')),
  );
  const lines = samplesOf(text).map((line) => line.slice(0, line.lastIndexOf(' ')));
  assert.equal(new Set(lines).size, lines.length, 'no sample twice');
});

test('figures that a host cannot provide are left out', () => {
  const none = { openDescriptors: null, maxDescriptors: null };
  const text = metricsText(
    metricsFacts({
      nbd: null,
      eventLoop: null,
      latencies: new Map(),
      process: { ...metricsFacts().process, ...none },
    }),
    'text',
  );
  const samples = samplesOf(text);
  for (const name of ['frontswap_nbd_', 'frontswap_event_loop', '_duration_', '_fds'])
    assert.deepEqual(
      samples.filter((line) => line.includes(name)),
      [],
    );
  assert.ok(samples.length > 30);
});

/** Fields that are the same for all metrics of a host, or addresses: see list-document.ts. */
const withoutMetric = [
  ...['dataBytes', 'hostControl', 'hostPid', 'uris', 'tls', 'allowedUids', 'allowedGids'],
  'vhostUserSocket',
];

test('every figure of a disk has a metric, and nothing else of it is read', () => {
  const read = new Set<string>();
  const report = new Proxy(diskReport('swap0'), {
    get(target, name) {
      read.add(String(name));
      return Reflect.get(target, name);
    },
  });
  metricsText(metricsFacts({ disks: [report] }), 'text');
  const fields = Object.keys(diskReport('swap0')).filter((name) => !withoutMetric.includes(name));
  assert.deepEqual([...read].sort(), fields.sort());
});

test('the classes of stored bytes add up to all stored bytes', () => {
  const report = diskReport('swap0');
  const text = metricsText(metricsFacts({ disks: [report] }), 'text');
  const values = linesOf(text, 'frontswap_stored_bytes{').map((line) => Number(line.split(' ')[1]));
  assert.equal(
    values.reduce((sum, value) => sum + value, 0),
    report.dataBytes,
  );
});

test('every counter of the host has a metric', () => {
  const counters = hostCounters();
  for (const [i, name] of counters.names.entries()) counters.add(name, 1_000_001 + i);
  const text = metricsText(metricsFacts({ counters }), 'text');
  const missing = counters.names.filter((name) => !text.includes(` ${counters.get(name)}\n`));
  assert.deepEqual(missing, []);
});

const violations: readonly (readonly [Partial<DiskReport>, string])[] = [
  [{ failedReads: 3 }, 'frontswap_failed_reads_total{disk="swap0"} 3'],
  [
    { backingFailures: 5, backingNoSpace: 2 },
    'frontswap_backing_failures_total{disk="swap0",reason="error"} 3',
  ],
  [{ backingMismatches: 4 }, 'frontswap_backing_mismatches_total{disk="swap0"} 4'],
];
for (const [change, sample] of violations)
  test(`a disk with ${Object.keys(change)[0]} is a violation`, () => {
    const disks = [{ ...diskReport('swap0'), ...change }];
    const samples = samplesOf(metricsText(metricsFacts({ disks }), 'text'));
    assert.ok(samples.includes('frontswap_violated_counters 1'));
    assert.ok(samples.includes(sample), sample);
  });

test('a name with every character that labels escape stays in its line', () => {
  const name = 'a"} 1\n# EOF\n\\';
  const text = metricsText(metricsFacts({ disks: [diskReport(name)] }), 'openMetrics');
  const plain = metricsText(
    metricsFacts({ disks: [diskReport('a')], latencies: new Map() }),
    'openMetrics',
  );
  assert.equal(text.split('\n').length, plain.split('\n').length);
  assert.ok(text.includes('{disk="a\\"} 1\\n# EOF\\n\\\\"} 1048576'));
});

test('addresses, paths and process ids of the list are not in the text', () => {
  const text = metricsText(metricsFacts(), 'text');
  for (const word of ['192.0.2.1', 'a-uri', 'a-control-socket', '4711'])
    assert.ok(!text.includes(word), word);
});

test('names follow the rules of Prometheus', () => {
  const names = metricFamilies.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length, 'no family twice');
  for (const { name, type, unit, labels, help, of } of metricFamilies) {
    assert.match(name, /^(frontswap|process)_[a-z]+(_[a-z]+)*$/);
    assert.doesNotMatch(name, /_(total|count|sum|bucket)$/);
    assert.equal(unit !== '' && !name.endsWith(`_${unit}`), false, `${name}: unit ${unit}`);
    assert.ok(unit !== '' || !/_(bytes|seconds|pages)$/.test(name), `${name} has a unit`);
    assert.match(help, /^[A-Z].*[A-Za-z0-9)]\.$/, name);
    assert.ok(type === 'gauge' || !/_info$/.test(name), name);
    for (const one of labels) assert.match(one, /^[a-z_]+$/);
    assert.ok(!labels.includes('disk') && (of === 'disk' || of === 'host'));
  }
});

test('the labels of the samples are those of the table', () => {
  const text = metricsText(metricsFacts(), 'text');
  for (const { name, labels, of } of metricFamilies) {
    const wanted = new Set([...(of === 'disk' ? ['disk'] : []), ...labels]);
    const seen = new Set(
      samplesOf(text)
        .filter((line) => line.replace(/(_total|_bucket|_sum|_count)?[{ ].*/, '') === name)
        .flatMap((line) => [...line.matchAll(/(\w+)="/g)].map(([, one]) => one!)),
    );
    assert.deepEqual([...seen].sort(), [...wanted].sort(), name);
  }
});

test('the text of many disks comes in parts of bounded length', () => {
  const disks = Array.from({ length: 300 }, (_, i) => diskReport(`vm${i}`));
  const busy = new Histogram();
  busy.add(1);
  const all = new Map(disks.map(({ name }) => [name, { latency: () => busy }]));
  const facts = metricsFacts({ disks, latencies: all });
  const parts = [...metricsParts(facts, 'text')];
  assert.equal(parts.join(''), metricsText(facts, 'text'));
  const longest = Math.max(...parts.map((part) => part.split('\n').length));
  assert.ok(longest < 512, `${longest} lines`);
});
