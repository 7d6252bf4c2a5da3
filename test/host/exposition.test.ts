/** The text formats: labels, comment lines, and the choice between them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  chooseFormat,
  formatNumber,
  headLines,
  label,
  type MetricsFormat,
} from '../../src/host/exposition.ts';

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** Reads `name="value"` as the formats define it; null if it is malformed or does not end there. */
function readLabel(text: string): string | null {
  const body = /^name="((?:[^"\\\n]|\\[\\n"])*)"$/.exec(text)?.[1];
  if (body === undefined) return null;
  return body.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped));
}

/** Texts in which the characters that have to be escaped are frequent. */
const hostile = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom('\\', '"', '\n', 'n', '}', ' ', '\r', '#') }),
);

test('a label holds any text in one line, and is read back unchanged', () => {
  fc.assert(
    fc.property(hostile, (text) => {
      const line = label('name', text);
      assert.equal(readLabel(line), text);
    }),
    { seed, numRuns: 2000 },
  );
});

test('labels with different values are different', () => {
  fc.assert(
    fc.property(hostile, hostile, (a, b) => {
      assert.equal(label('name', a) === label('name', b), a === b);
    }),
    { seed },
  );
});

test('any help is one line of comment', () => {
  fc.assert(
    fc.property(hostile, fc.constantFrom<MetricsFormat>('text', 'openMetrics'), (help, format) => {
      const text = headLines({ name: 'x', type: 'gauge', unit: '', help }, format);
      const lines = text.split('\n');
      assert.equal(lines.length, 3);
      assert.equal(lines[2], '');
      for (const line of lines.slice(0, 2)) assert.match(line, /^# (HELP|TYPE) x /);
    }),
    { seed },
  );
});

test('quotes of a help are escaped in OpenMetrics only', () => {
  const head = { name: 'x_bytes', type: 'counter', unit: 'bytes', help: 'a "b" \\ c\nd' } as const;
  assert.equal(
    headLines(head, 'text'),
    '# HELP x_bytes_total a "b" \\\\ c\\nd\n# TYPE x_bytes_total counter\n',
  );
  assert.equal(
    headLines(head, 'openMetrics'),
    '# TYPE x_bytes counter\n# UNIT x_bytes bytes\n# HELP x_bytes a \\"b\\" \\\\ c\\nd\n',
  );
});

const numbers: readonly [number, string][] = [
  [0, '0'],
  [0.000_010_24, '0.00001024'],
  [Number.MAX_SAFE_INTEGER, '9007199254740991'],
  [1e21, '1e+21'],
  [1e-7, '1e-7'],
  [NaN, 'NaN'],
  [Infinity, '+Inf'],
  [-Infinity, '-Inf'],
];
for (const [value, want] of numbers)
  test(`the number ${value} is ${want}`, () => assert.equal(formatNumber(value), want));

/** What Prometheus 2.42 sends. */
const prometheus =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,' +
  'text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
const accepts: readonly [string | undefined, MetricsFormat][] = [
  [undefined, 'text'],
  ['', 'text'],
  ['*/*', 'text'],
  ['text/html, */*;q=0.8', 'text'],
  ['application/json', 'text'],
  [prometheus, 'openMetrics'],
  ['application/openmetrics-text', 'openMetrics'],
  ['Application/OpenMetrics-Text; Version="1.0.0"; charset=utf-8', 'openMetrics'],
  ['application/openmetrics-text; version=0.0.1', 'text'],
  ['application/openmetrics-text; version=2.0.0', 'text'],
  ['application/openmetrics-text; q=0', 'text'],
  ['application/openmetrics-text; q=0.5, text/plain; q=0.6', 'text'],
  ['application/openmetrics-text; q=0.5, text/plain; q=0.5', 'openMetrics'],
  ['application/openmetrics-text; q=2', 'text'],
  ['application/openmetrics-text; q=-1', 'text'],
  ['application/openmetrics-text; q=x', 'text'],
  ['x/application/openmetrics-text', 'text'],
];
for (const [accept, want] of accepts)
  test(`Accept: ${accept} gets ${want}`, () => assert.equal(chooseFormat(accept), want));
