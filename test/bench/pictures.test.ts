/** The writers of pictures: text is escaped, values stay inside the axes, the same data renders to the same well-formed XML. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderTerminal, shownBy } from '../../bench/pictures/terminal.ts';
import { type Chart, type Panel, renderChart } from '../../src/chart/chart.ts';
import { linearScale, logScale, spanOf } from '../../src/chart/scale.ts';
import { element, escapeXml } from '../../src/chart/svg.ts';

const panel = (rest: Partial<Panel>): Panel => ({
  x: { label: 'seconds' },
  y: { label: 'MiB' },
  series: [],
  ...rest,
});
const chart = (...panels: Panel[]): Chart => ({
  ...{ title: 'a title', description: 'a description', notes: ['a note'] },
  panels,
});

/**
 * Names of the elements of a document, in order. Throws unless every tag is closed in its order, every attribute is quoted and
 * given once, and no bare `<` or `&` is left.
 */
function elementsOf(xml: string): string[] {
  const names: string[] = [];
  const open: string[] = [];
  const tag = /<(\/?)([a-z]+)((?: [\w:-]+="[^"<]*")*)(\/?)>/g;
  let end = 0;
  for (const { index, 0: all, 1: closing, 2: name, 3: attributes, 4: isEmpty } of xml.matchAll(
    tag,
  )) {
    textMustBeClean(xml.slice(end, index));
    end = index + all.length;
    textMustBeClean(attributes!);
    const keys = [...attributes!.matchAll(/ ([\w:-]+)=/g)].map(([, key]) => key);
    assert.equal(new Set(keys).size, keys.length, `${all} has an attribute twice`);
    if (closing === '/') assert.equal(open.pop(), name, `${all} closes another element`);
    else {
      names.push(name!);
      if (isEmpty === '') open.push(name!);
    }
  }
  assert.equal(xml.slice(end).trim(), '');
  assert.deepEqual(open, []);
  return names;
}

function textMustBeClean(text: string): void {
  assert.doesNotMatch(text, /</, 'a bare <');
  assert.doesNotMatch(text, /&(?!amp;|lt;|gt;|quot;|#39;)/, 'a bare &');
}

const count = (names: readonly string[], name: string): number =>
  names.filter((n) => n === name).length;

test('text is escaped as content and as attribute, and characters that XML forbids are replaced', () => {
  const hostile = `<script>"a" & 'b'</script>\u0000\u001b\ud800`;
  const escaped = '&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;\ufffd\ufffd\ufffd';
  assert.equal(escapeXml(hostile), escaped);
  assert.equal(escapeXml('µs · 😀'), 'µs · 😀', 'pairs of surrogates are characters');
  const made = element('text', { class: hostile }, escapeXml(hostile));
  assert.deepEqual(elementsOf(made), ['text']);
  const series = [{ name: hostile, look: 0, points: [[0, 1] as const] }];
  const rendered = renderChart({
    ...chart(panel({ title: hostile, series })),
    ...{ title: hostile, description: hostile, notes: [hostile] },
  });
  assert.equal(count(elementsOf(rendered), 'script'), 0);
});

test('numbers have at most two decimals, and NaN and infinity are errors', () => {
  assert.equal(element('path', { a: 1 / 3, b: -0.001, c: 2 }), '<path a="0.33" b="0" c="2"/>');
  assert.throws(() => element('path', { a: Number.NaN }), /cannot be NaN/);
});

test('a linear axis has round ticks from below its values to above them', () => {
  const { at, ticks } = linearScale({ low: 3, high: 97 }, 0, 100, 5);
  assert.deepEqual(ticks, [0, 20, 40, 60, 80, 100]);
  assert.deepEqual([at(0), at(50), at(100)], [0, 50, 100]);
  assert.deepEqual([at(-5), at(1000)], [0, 100], 'values outside stay at the ends');
  const small = linearScale({ low: 0, high: 0.5 }, 0, 1, 5).ticks;
  assert.deepEqual(small, [0, 0.1, 0.2, 0.3, 0.4, 0.5], 'no 0.30000000000000004');
});

test('explicit ticks do not widen a linear axis', () => {
  const { at, ticks } = linearScale({ low: 0, high: 42 }, 0, 42, [0, 20, 40]);
  assert.deepEqual(ticks, [0, 20, 40]);
  assert.equal(at(42), 42);
});

test('a logarithmic axis has equal distances between powers, and refuses to begin at zero', () => {
  const { at, ticks } = logScale({ low: 0.3, high: 900 }, 0, 80, 10);
  assert.deepEqual(ticks, [0.1, 1, 10, 100, 1000]);
  assert.deepEqual(ticks.map(at), [0, 20, 40, 60, 80]);
  assert.equal(at(0), 0, 'what no logarithm has is at the low end');
  assert.deepEqual(logScale({ low: 16, high: 64 }, 0, 1, 2).ticks, [16, 32, 64]);
  assert.throws(() => logScale({ low: 0, high: 1 }, 0, 1, 10), /cannot begin at 0/);
});

test('the span of no value, of one value, and of values with gaps is correct', () => {
  assert.deepEqual(spanOf([]), { low: 0, high: 1 });
  assert.deepEqual(spanOf([7]), { low: 7, high: 8 });
  assert.deepEqual(spanOf([Number.NaN, 3, 9]), { low: 3, high: 9 });
});

test('a chart without data has a text about that, and is well-formed', () => {
  const log = panel({ x: { label: 'µs', log: 10 } });
  const hollow = panel({ series: [{ name: 'nothing', look: 0, points: [] }] });
  for (const empty of [panel({}), log, hollow]) {
    const svg = renderChart(chart(empty));
    elementsOf(svg);
    assert.match(svg, />no data</);
  }
});

test('every coordinate of a line is inside the picture', () => {
  const points = Array.from({ length: 50 }, (_, i) => [10 ** (i / 10 - 2), i * i] as const);
  const svg = renderChart(
    chart(panel({ x: { label: 'µs', log: 10 }, series: [{ name: 'a', look: 1, points }] })),
  );
  const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg)!.map(Number);
  const paths = [...svg.matchAll(/class="line[^>]*|d="(M[^"]+)"/g)].flatMap(([, d]) => d ?? []);
  const coordinates = paths.flatMap((d) =>
    d
      .slice(1)
      .split('L')
      .map((at) => at.split(' ').map(Number)),
  );
  assert.ok(coordinates.length >= points.length);
  for (const [x, y] of coordinates)
    assert.ok(x! >= 0 && x! <= width! && y! >= 0 && y! <= height!, `${x} ${y}`);
});

test('steps hold a value until the next one', () => {
  const series = [
    {
      name: 'a',
      look: 0,
      isStep: true,
      points: [
        [0, 0],
        [1, 1],
      ] as const,
    },
  ];
  const svg = renderChart(chart(panel({ series })));
  const [, d] = [...svg.matchAll(/<path d="(M[^"]+)" class="line s0"/g)].at(-1)!;
  const [first, corner, last] = d!
    .slice(1)
    .split('L')
    .map((at) => at.split(' ').map(Number));
  assert.deepEqual([corner![0], corner![1]], [last![0], first![1]]);
});

test('series differ in more than color', () => {
  const series = [0, 1, 2].map((look) => ({
    ...{ name: `series ${look}`, look },
    points: [
      [0, look],
      [1, look + 1],
    ] as const,
  }));
  const svg = renderChart(chart(panel({ series })));
  const samples = [...svg.matchAll(/class="line s(\d)"( stroke-dasharray="[^"]+")?/g)];
  const looks = new Set(samples.map(([, color, dash]) => `${color}${dash}`));
  assert.equal(looks.size, 3);
  assert.equal(new Set(samples.map(([, , dash]) => dash)).size, 3);
  for (const { name } of series) assert.ok(svg.includes(`>${name}</text>`), 'named in the legend');
});

test('a picture has a title and a description, and colors for both modes', () => {
  const svg = renderChart(chart(panel({})));
  assert.deepEqual(elementsOf(svg).slice(0, 4), ['svg', 'title', 'desc', 'style']);
  assert.match(svg, /role="img" aria-labelledby="title desc"/);
  assert.match(svg, /@media\(prefers-color-scheme:dark\)/);
  assert.doesNotMatch(svg, /(?:href|url\(|<image|<script)/, 'nothing is loaded');
});

test('the same data renders to the same text', () => {
  const make = (): string =>
    renderChart(chart(panel({ series: [{ name: 'a', look: 0, points: [[0, 1 / 3]] }] })));
  assert.equal(make(), make());
});

test('a terminal shows each line during its time, and the last screen until the end', () => {
  const shown = shownBy({
    ...{ command: 'demo', columns: 40 },
    events: [
      [0, 'start\r\n\x1b[?25l'],
      [100, '\r\x1b[Kone'],
      [200, '\r\x1b[Ktwo, longer'],
      [300, '\r\x1b[K\x1b[?25hend\r\n\r\nlast\r\n'],
    ],
  });
  assert.deepEqual(shown, [
    { row: 0, text: 'start', from: 0, to: null },
    { row: 1, text: 'one', from: 100, to: 200 },
    { row: 1, text: 'two, longer', from: 200, to: 300 },
    { row: 1, text: 'end', from: 300, to: null },
    { row: 3, text: 'last', from: 300, to: null },
  ]);
});

test('text after a carriage return replaces only what it covers', () => {
  const events = [[0, 'abcdef\rXY']] as const;
  assert.equal(shownBy({ command: '', columns: 9, events })[0]!.text, 'XYcdef');
});

test('a line longer than the width of the terminal continues in the next row', () => {
  const events = [[0, 'abcdefg\r\nh']] as const;
  const rows = shownBy({ command: '', columns: 3, events }).map(({ text }) => text);
  assert.deepEqual(rows, ['abc', 'def', 'g', 'h']);
});

test('a control sequence that the picture cannot show is an error', () => {
  const events = [[0, 'a\x1b[31mred']] as const;
  assert.throws(() => shownBy({ command: '', columns: 9, events }), /control code "\\u001b"/);
});

test('without animation a terminal shows its last screen, and moves only if motion is allowed', () => {
  const svg = renderTerminal({
    ...{ title: 'demo', description: 'd', notes: [] },
    recording: {
      command: 'a <b>',
      columns: 30,
      events: [
        [0, 'x\r'],
        [50, '  y & z  w\r\n'],
      ],
    },
  });
  elementsOf(svg);
  assert.match(svg, />\$ a &lt;b&gt;</);
  const [still, moving] = svg.split('@media(prefers-reduced-motion:no-preference)');
  assert.match(still!, /\.once\{visibility:hidden\}/);
  assert.doesNotMatch(still!.replace(/@keyframes.*/, ''), /animation/);
  assert.match(moving!, /class="cell once" style="animation-delay:0s;animation-duration:0.05s"/);
  assert.match(moving!, /class="cell end" style="animation-delay:0.05s">y &amp; z {2}w</);
});
