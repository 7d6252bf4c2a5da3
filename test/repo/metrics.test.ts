/** docs/reference/metrics.md lists every family of metrics; the dashboard and the alert rules use existing ones. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { metricFamilies } from '../../src/host/metrics.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const textOf = (path: string): string => readFileSync(join(root, path), 'utf8');

type Row = readonly [name: string, type: string, labels: string, meaning: string];

/** The rows of the table whose first column begins with `frontswap_` or `process_`. */
const rowsOf = (page: string): Row[] =>
  page
    .split('\n')
    .filter((line) => /^\| `(frontswap|process)_/.test(line))
    .map((line) => {
      const [name = '', type = '', labels = '', meaning = ''] = line
        .slice(1)
        .split('|')
        .map((cell) => cell.trim().replaceAll('`', ''));
      return [name, type, labels, meaning];
    });

const wanted = metricFamilies.map(({ name, type, of, labels, help }): Row => {
  const all = of === 'disk' ? ['disk', ...labels] : labels;
  return [type === 'counter' ? `${name}_total` : name, type, all.join(', '), help];
});

test('docs/reference/metrics.md lists every family, with its type, labels and meaning', () => {
  assert.deepEqual(rowsOf(textOf('docs/reference/metrics.md')), wanted);
});

test('the table is read by its cells', () => {
  const page = '| name | x |\n| `frontswap_a` | gauge | `disk`, `op` | Text with `code`. |\ntext\n';
  assert.deepEqual(rowsOf(page), [['frontswap_a', 'gauge', 'disk, op', 'Text with code.']]);
});

const suffixes: Readonly<Record<string, readonly string[]>> = {
  gauge: [''],
  counter: ['_total'],
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['', '_sum', '_count'],
};
const sampleNames = new Set(
  metricFamilies.flatMap(({ name, type }) => suffixes[type]!.map((suffix) => `${name}${suffix}`)),
);

/** The metrics that an expression of PromQL uses. */
const metricsIn = (text: string): string[] =>
  [...text.matchAll(/\b(?:frontswap|process)_\w+/g)].map(([name]) => name);

const operate = 'examples/operate';

for (const file of ['alerts.yml', 'grafana-dashboard.json', 'README.md'])
  test(`${operate}/${file} names existing metrics only`, () => {
    const unknown = metricsIn(textOf(`${operate}/${file}`)).filter(
      (name) => !sampleNames.has(name),
    );
    assert.deepEqual(unknown, []);
  });

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly description: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number };
  readonly targets: readonly { readonly refId: string; readonly expr: string }[];
}

test('each panel of the dashboard has a unique id, a place, a description and its own queries', () => {
  const { panels } = JSON.parse(textOf(`${operate}/grafana-dashboard.json`)) as {
    readonly panels: readonly Panel[];
  };
  const places = panels.map(({ gridPos: { x, y } }) => `${x},${y}`);
  assert.equal(new Set(places).size, panels.length);
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const { title, description, gridPos, targets } of panels) {
    assert.ok(gridPos.x + gridPos.w <= 24, title);
    assert.match(description, /\.$/, title);
    assert.ok(targets.length > 0, title);
    assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
    for (const { expr } of targets) assert.ok(metricsIn(expr).length > 0, `${title}: ${expr}`);
  }
});
