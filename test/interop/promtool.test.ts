/** Prometheus and its promtool with the metrics of a host, and with the alert rules of examples/operate. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hostCounters } from '../../src/host/counters.ts';
import type { MetricsFacts } from '../../src/host/metric-family.ts';
import { metricsText } from '../../src/host/metrics.ts';
import { MetricsServer } from '../../src/host/metrics-server.ts';
import { diskReport, latencies, metricsFacts } from '../host/metrics-facts.ts';
import {
  freePort,
  must,
  peerTest,
  root,
  run,
  TemporaryFolder,
} from '../support/fixtures/processes.ts';
import { until } from '../support/fixtures/until.ts';

/** Two disks, one with a name that has every character that a label escapes. */
const names = ['swap0', 'a"b\\c\nd'];
const facts: MetricsFacts = metricsFacts({
  disks: names.map(diskReport),
  latencies: new Map(names.map((name) => [name, latencies()])),
});
const samplesIn = (text: string): string[] =>
  text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

peerTest(
  'promtool accepts the Prometheus text, and refuses a damaged one',
  ['promtool'],
  async () => {
    using folder = new TemporaryFolder();
    const check = (text: string): ReturnType<typeof run> => {
      writeFileSync(folder.file('metrics'), text);
      return run('sh', ['-c', `promtool check metrics < ${folder.file('metrics')}`]);
    };
    const text = metricsText(facts, 'text');
    const { status, stdout, stderr } = await check(text);
    assert.deepEqual([status, stdout, stderr], [0, '', '']);
    assert.notEqual((await check(text.replace('\\"b', '"b'))).status, 0);
    const withoutHelp = text.replace(/# HELP frontswap_connections .*\n/, '');
    assert.match((await check(withoutHelp)).stderr, /frontswap_connections no help text/);
  },
);

// `promtool check metrics` reads Prometheus text only. This command has the OpenMetrics parser, and wants timestamps.
peerTest(
  'promtool accepts every sample of OpenMetrics, and refuses a text cut short',
  ['promtool'],
  async () => {
    using folder = new TemporaryFolder();
    const load = (text: string): ReturnType<typeof run> => {
      const timed = text.replace(/^(?!#)(.+)$/gm, '$1 1700000000.5');
      writeFileSync(folder.file('metrics'), timed);
      const into = folder.file(`blocks-${text.length}`);
      const args = ['create-blocks-from', 'openmetrics', folder.file('metrics'), into];
      return run('promtool', ['tsdb', ...args]);
    };
    const text = metricsText(facts, 'openMetrics');
    const { status, stdout, stderr } = await load(text);
    assert.equal(status, 0, stderr);
    const [, samples, , series] = / (\d+) +(\d+) +(\d+) +\d+\n$/.exec(stdout) ?? [];
    const count = samplesIn(text).length;
    assert.deepEqual([Number(samples), Number(series)], [count, count], stdout);
    const cut = await load(text.replace('# EOF\n', ''));
    assert.notEqual(cut.status, 0);
    assert.match(cut.stderr, /does not end with # EOF/);
  },
);

interface Answer<Result> {
  readonly status: string;
  readonly data: Result;
}
interface Targets {
  readonly activeTargets: readonly { readonly health: string; readonly lastError: string }[];
}
interface Vector {
  readonly result: readonly {
    readonly metric: Readonly<Record<string, string>>;
    readonly value: readonly [number, string];
  }[];
}

peerTest('Prometheus scrapes the server and answers queries about it', ['prometheus'], async () => {
  using folder = new TemporaryFolder();
  const counters = hostCounters();
  const server = await MetricsServer.listen({ host: '127.0.0.1', port: 0 }, () => facts, counters);
  const port = await freePort();
  const target = `127.0.0.1:${server.address.port}`;
  writeFileSync(
    folder.file('prometheus.yml'),
    `scrape_configs:\n  - job_name: frontswap\n    scrape_interval: 1s\n` +
      `    static_configs:\n      - targets: ['${target}']\n`,
  );
  const ended = run(
    'prometheus',
    [
      `--config.file=${folder.file('prometheus.yml')}`,
      `--storage.tsdb.path=${folder.file('data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--web.enable-lifecycle',
    ],
    { timeoutMs: 55_000, cwd: folder.path },
  );
  const ask = async <Result>(path: string): Promise<Result> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`);
    return ((await response.json()) as Answer<Result>).data;
  };
  let health = 'unknown';
  let lastError = '';
  let isAsking = false;
  try {
    await until('a scrape', () => {
      if (!isAsking) {
        isAsking = true;
        ask<Targets>('targets')
          .then(({ activeTargets: [one] }) => {
            health = one?.health ?? 'unknown';
            lastError = one?.lastError ?? '';
          })
          .catch(() => undefined) // Prometheus does not listen yet
          .finally(() => {
            isAsking = false;
          });
      }
      return health !== 'unknown';
    });
    assert.deepEqual([health, lastError], ['up', '']);
    const query = 'sum by (disk) (frontswap_stored_bytes)';
    const { result } = await ask<Vector>(`query?query=${encodeURIComponent(query)}`);
    const stored = result.map(({ metric, value }) => [metric['disk'], Number(value[1])]);
    assert.deepEqual(
      new Map(stored as [string, number][]),
      new Map(names.map((name) => [name, diskReport(name).dataBytes])),
    );
    assert.ok(counters.get('metricsRequests') > 0);
    assert.equal(counters.get('metricsRefusals'), 0);
  } finally {
    await fetch(`http://127.0.0.1:${port}/-/quit`, { method: 'POST' }).catch(() => undefined);
    await server.close();
    assert.equal((await ended).status, 0);
  }
});

const rules = join(root, 'examples/operate/alerts.yml');

peerTest('promtool accepts the alert rules', ['promtool'], async () => {
  assert.match(await must('promtool', ['check', 'rules', rules]), /SUCCESS: 9 rules found/);
});

interface Dashboard {
  readonly panels: readonly { readonly targets: readonly { readonly expr: string }[] }[];
}

peerTest(
  'promtool accepts the queries of the dashboard, and refuses a damaged one',
  ['promtool'],
  async () => {
    using folder = new TemporaryFolder();
    const path = join(root, 'examples/operate/grafana-dashboard.json');
    const { panels } = JSON.parse(readFileSync(path, 'utf8')) as Dashboard;
    const queries = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    assert.ok(queries.length > 20);
    const check = (all: readonly string[]): ReturnType<typeof run> => {
      const asRules = all.map((expr, i) => ({
        record: `query:${i}`,
        expr: expr.replaceAll('$__rate_interval', '5m'),
      }));
      const groups = [{ name: 'dashboard', rules: asRules }];
      writeFileSync(folder.file('rules.yml'), JSON.stringify({ groups }));
      return run('promtool', ['check', 'rules', folder.file('rules.yml')]);
    };
    const { status, stdout, stderr } = await check(queries);
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(`SUCCESS: ${queries.length} rules found`));
    assert.notEqual((await check([...queries, 'sum(rate(x[5m])'])).status, 0);
  },
);

interface Case {
  readonly alert: string;
  /** Series and their values, one a minute. */
  readonly series: Readonly<Record<string, string>>;
  /** Minutes after which it does not fire yet, and after which it does; null: never. */
  readonly quietAt: number;
  readonly firesAt: number | null;
}
const disk = 'instance="h",disk="d"';
const bucket = (le: string): string =>
  `frontswap_operation_duration_seconds_bucket{${disk},op="read",le="${le}"}`;
const cases: readonly Case[] = [
  {
    alert: 'FrontswapHostDown',
    series: { 'up{job="frontswap",instance="h"}': '1 1 0x20' },
    quietAt: 1,
    firesAt: 4,
  },
  {
    alert: 'FrontswapHostRestarted',
    series: { 'process_start_time_seconds{job="frontswap",instance="h"}': '5x5 9x20' },
    quietAt: 5,
    firesAt: 7,
  },
  {
    alert: 'FrontswapFault',
    series: { 'frontswap_violated_counters{instance="h"}': '0x5 1x20' },
    quietAt: 5,
    firesAt: 7,
  },
  {
    alert: 'FrontswapDiskRefusesWrites',
    series: { [`frontswap_refusals_total{${disk},reason="full"}`]: '0x5 1+10x20' },
    quietAt: 5,
    firesAt: 12,
  },
  {
    alert: 'FrontswapDiskRefusesWrites',
    series: { [`frontswap_refusals_total{${disk},reason="invalid"}`]: '0x5 1+10x20' },
    quietAt: 5,
    firesAt: null,
  },
  {
    alert: 'FrontswapDiskNearlyFull',
    series: {
      [`frontswap_memory_used_bytes{${disk}}`]: '90x5 91x20',
      [`frontswap_memory_limit_bytes{${disk}}`]: '100x30',
    },
    quietAt: 10,
    firesAt: 12,
  },
  {
    alert: 'FrontswapDiskNearlyFull',
    series: {
      [`frontswap_memory_used_bytes{${disk}}`]: '91x30',
      [`frontswap_memory_limit_bytes{${disk}}`]: '0x30',
    },
    quietAt: 10,
    firesAt: null,
  },
  {
    alert: 'FrontswapHostNearlyFull',
    series: {
      'frontswap_host_memory_used_bytes{instance="h"}': '90x5 91x20',
      'frontswap_host_memory_limit_bytes{instance="h"}': '100x30',
    },
    quietAt: 10,
    firesAt: 12,
  },
  {
    alert: 'FrontswapSlowReads',
    series: {
      [bucket('0.01048576')]: '0+100x5 500+90x25',
      [bucket('0.02097152')]: '0+100x30',
      [bucket('+Inf')]: '0+100x30',
    },
    quietAt: 5,
    firesAt: 20,
  },
  {
    alert: 'FrontswapEventLoopLate',
    series: { 'frontswap_event_loop_delay_seconds{instance="h",quantile="0.99"}': '0.1x5 0.2x20' },
    quietAt: 10,
    firesAt: 12,
  },
  {
    alert: 'FrontswapClientsRefused',
    series: { 'frontswap_nbd_refused_connections_total{instance="h"}': '0x5 3x20' },
    quietAt: 5,
    firesAt: 7,
  },
];

/** A test file of promtool: the alert does not fire at `minute`, or does. */
function ruleTest({ alert, series }: Case, minute: number): object {
  const input = Object.entries(series).map(([name, values]) => ({ series: name, values }));
  const query = `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`;
  return {
    rule_files: [rules],
    evaluation_interval: '1m',
    tests: [
      {
        interval: '1m',
        input_series: input,
        promql_expr_test: [
          {
            expr: query,
            eval_time: `${minute}m`,
            exp_samples: [{ labels: '{}', value: 1 }],
          },
        ],
      },
    ],
  };
}

for (const [i, one] of cases.entries()) {
  const { alert, series, quietAt, firesAt } = one;
  const about = `${alert} (${Object.keys(series)[0]?.replace(/\{.*/, '')}, case ${i + 1})`;
  peerTest(`the alert ${about} fires only when it should`, ['promtool'], async () => {
    using folder = new TemporaryFolder();
    const fires = async (minute: number): Promise<boolean> => {
      writeFileSync(folder.file('test.yml'), JSON.stringify(ruleTest(one, minute)));
      const { status, stdout, stderr } = await run('promtool', [
        'test',
        'rules',
        folder.file('test.yml'),
      ]);
      if (status !== 0)
        assert.match(stdout + stderr, /got: *\[?"?\{\} 0E\+00|got:.*\{\} 0/, stderr);
      return status === 0;
    };
    assert.equal(await fires(quietAt), false);
    if (firesAt !== null) assert.equal(await fires(firesAt), true);
    else assert.equal(await fires(25), false);
  });
}
