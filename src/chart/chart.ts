/**
 * Charts of one or more panels side by side: lines or steps over a linear or logarithmic axis. Each series has its own
 * color, dash and marker, and is named at a point of its line or in the legend on top.
 *
 *   ┌ heading ────────────────────┐
 *   │ legend                      │
 *   │ panel title    panel title  │
 *   │ plot           plot         │   bands behind, labels of axes below and above
 *   │ notes                       │
 *   └─────────────────────────────┘
 */
import { linearScale, logScale, type Scale, type Span, spanOf } from './scale.ts';
import { COLORS, document, element, text, textWidth } from './svg.ts';

interface Axis {
  /** With the unit. */
  readonly label: string;
  /** Base of a logarithmic axis; linear if absent. */
  readonly log?: number;
  /** Values that the axis includes even if no data is there. */
  readonly include?: readonly number[];
  /**
   * Ticks that replace the round values. A linear axis then ends at its last value, a logarithmic one at a power of its
   * base.
   */
  readonly ticks?: readonly number[];
  readonly format?: (value: number) => string;
  /** About this many ticks on a linear x axis; default 8. */
  readonly tickCount?: number;
}

export interface Series {
  readonly name: string;
  /** Color, dash and marker: the same number looks the same in all panels. */
  readonly look: number;
  readonly points: readonly (readonly [number, number])[];
  /** A value holds until the next point. */
  readonly isStep?: boolean;
  /** Names the line at one of its points; if absent, in the legend. */
  readonly label?: Label;
}

/** Where the name of a line is: above or below its point at `x`; left, right or centered. */
export interface Label {
  readonly x: number;
  readonly side: 'above' | 'below';
  readonly anchor: 'start' | 'middle' | 'end';
}

/** A part of the x axis, with a name on top. */
interface Band {
  readonly from: number;
  readonly to: number;
  readonly name: string;
}

/** A horizontal line to compare the series with. */
interface Rule {
  readonly y: number;
  readonly name: string;
}

export interface Panel {
  readonly title?: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  readonly bands?: readonly Band[];
  readonly rule?: Rule;
}

export interface Chart {
  readonly title: string;
  readonly description: string;
  readonly panels: readonly Panel[];
  readonly notes: readonly string[];
  /** Width of all panels together, pixels; default 800. */
  readonly width?: number;
  /** See Frame.id. */
  readonly id?: string;
}

const WIDTH = 800;
const PLOT_HEIGHT = 240;
const LEFT = 58;
const RIGHT = 18;
const POINTS_WITH_MARKERS_MAX = 16;
const dashes = ['', '8 4', '2 3', '10 3 2 3', '5 2'];

interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

function marker(look: number, x: number, y: number): string {
  const className = `f${look % COLORS}`;
  const shapes = [
    () => element('circle', { cx: x, cy: y, r: 3.5, class: className }),
    () => element('rect', { x: x - 3, y: y - 3, width: 6, height: 6, class: className }),
    () =>
      element('path', {
        d: path(
          [
            [x, y - 4.5],
            [x + 4, y + 3],
            [x - 4, y + 3],
          ],
          true,
        ),
        class: className,
      }),
    () =>
      element('path', {
        d: path(
          [
            [x, y - 4.5],
            [x + 4.5, y],
            [x, y + 4.5],
            [x - 4.5, y],
          ],
          true,
        ),
        class: className,
      }),
  ];
  return shapes[look % shapes.length]!();
}

type Point = readonly [number, number];

/** Path data; consecutive points in the same pixel are merged. */
function path(points: readonly Point[], isClosed = false): string {
  const rounded = points.map(([x, y]) => `${Math.round(x * 10) / 10} ${Math.round(y * 10) / 10}`);
  const distinct = rounded.filter((at, i) => at !== rounded[i - 1]);
  return `M${distinct.join('L')}${isClosed ? 'Z' : ''}`;
}

function stepped(points: readonly Point[]): Point[] {
  return points.flatMap((point, i) => {
    const previous = points[i - 1];
    return previous === undefined ? [point] : [[point[0], previous[1]] as const, point];
  });
}

function line(look: number, points: readonly Point[]): string {
  const dash = dashes[look % dashes.length]!;
  return element('path', {
    d: path(points),
    class: `line s${look % COLORS}`,
    ...(dash === '' ? {} : { 'stroke-dasharray': dash }),
  });
}

function positiveSpan(values: readonly number[]): Span {
  const positive = values.filter((value) => value > 0);
  return positive.length === 0 ? { low: 1, high: 1 } : spanOf(positive);
}

function scaleOf(
  axis: Axis,
  values: readonly number[],
  from: number,
  to: number,
  count: number,
): Scale {
  const all = [...values, ...(axis.include ?? []), ...(axis.ticks ?? [])];
  const scale =
    axis.log === undefined
      ? linearScale(spanOf(all), from, to, axis.ticks ?? count)
      : logScale(positiveSpan(all), from, to, axis.log);
  return { at: scale.at, ticks: axis.ticks ?? scale.ticks };
}

const plain = (value: number): string =>
  value.toLocaleString('en-US', { maximumFractionDigits: 6 });

function axes(panel: Panel, box: Box, x: Scale, y: Scale): string[] {
  const { left, right, top, bottom } = box;
  const nameX = panel.x.format ?? plain;
  const nameY = panel.y.format ?? plain;
  const grid = (x1: number, y1: number, x2: number, y2: number, type: string): string =>
    element('line', { x1, y1, x2, y2, class: type });
  return [
    ...y.ticks.flatMap((value) => [
      grid(left, y.at(value), right, y.at(value), 'grid'),
      text(left - 7, y.at(value) + 4, 'end', 'tick', nameY(value)),
    ]),
    ...x.ticks.flatMap((value) => [
      grid(x.at(value), bottom, x.at(value), bottom + 5, 'axis'),
      text(x.at(value), bottom + 19, 'middle', 'tick', nameX(value)),
    ]),
    grid(left, bottom, right, bottom, 'axis'),
    text((left + right) / 2, bottom + 38, 'middle', 'text', panel.x.label),
    text(left - 50, top - 10, 'start', 'text', panel.y.label),
  ];
}

function bands(panel: Panel, { top, bottom }: Box, x: Scale): string[] {
  return (panel.bands ?? []).flatMap(({ from, to, name }, i) => {
    const [start, end] = [x.at(from), x.at(to)];
    const shade = { x: start, y: top, width: end - start, height: bottom - top, class: 'band' };
    return [
      ...(i % 2 === 0 ? [element('rect', shade)] : []),
      text((start + end) / 2, top - 10, 'middle', 'text', name),
    ];
  });
}

function drawn(series: Series, x: Scale, y: Scale): string[] {
  const points = series.points
    .filter(([at, value]) => Number.isFinite(at) && Number.isFinite(value))
    .map(([at, value]): Point => [x.at(at), y.at(value)]);
  if (points.length === 0) return [];
  const { label, look } = series;
  const body = [line(look, series.isStep === true ? stepped(points) : points)];
  if (points.length <= POINTS_WITH_MARKERS_MAX)
    body.push(...points.map(([px, py]) => marker(look, px, py)));
  if (label === undefined) return body;
  const named = points.find(([px]) => px >= x.at(label.x)) ?? points.at(-1)!;
  const baseline = named[1] + (label.side === 'below' ? 19 : -9);
  body.push(text(named[0], baseline, label.anchor, `label f${look % COLORS}`, series.name));
  return body;
}

function ruled(panel: Panel, { left, right }: Box, y: Scale): string[] {
  const { rule } = panel;
  if (rule === undefined) return [];
  const at = y.at(rule.y);
  const ends = { x1: left, y1: at, x2: right, y2: at, class: 'axis', 'stroke-dasharray': '3 3' };
  return [element('line', ends), text(right, at - 6, 'end', 'text', rule.name)];
}

function plot(panel: Panel, box: Box): string {
  const { left, right, top, bottom } = box;
  const points = panel.series.flatMap(({ points }) => points);
  const x = scaleOf(
    panel.x,
    points.map(([at]) => at),
    left,
    right,
    panel.x.tickCount ?? 8,
  );
  const rule = panel.rule === undefined ? [] : [panel.rule.y];
  const y = scaleOf(panel.y, [...points.map(([, value]) => value), ...rule], bottom, top, 5);
  const body = [
    ...(panel.title === undefined
      ? []
      : [text(left - 50, top - 32, 'start', 'panel', panel.title)]),
    ...bands(panel, box, x),
    ...axes(panel, box, x, y),
    ...ruled(panel, box, y),
    ...panel.series.flatMap((series) => drawn(series, x, y)),
  ];
  if (points.length === 0)
    body.push(text((left + right) / 2, (top + bottom) / 2, 'middle', 'text', 'no data'));
  return element('g', {}, `\n${body.join('\n')}\n`);
}

/** Samples and names of the series without a label, each once. */
function legend(panels: readonly Panel[], baseline: number): string[] {
  const named = new Map<string, Series>();
  for (const series of panels.flatMap((panel) => panel.series))
    if (series.label === undefined && !named.has(series.name)) named.set(series.name, series);
  let left = LEFT - 50;
  return [...named.values()].flatMap(({ name, look, points }) => {
    const start = left;
    left += 40 + textWidth(name) + 20;
    const sample: Point[] = [
      [start, baseline - 4],
      [start + 32, baseline - 4],
    ];
    return [
      line(look, sample),
      ...(points.length <= POINTS_WITH_MARKERS_MAX ? [marker(look, start + 16, baseline - 4)] : []),
      text(start + 40, baseline, 'start', 'text', name),
    ];
  });
}

export function renderChart(chart: Chart): string {
  const { title, description, panels, notes, width = WIDTH, id = '' } = chart;
  const names = legend(panels, 50);
  const hasPanelTitle = panels.some((panel) => panel.title !== undefined);
  const top = 64 + (names.length > 0 ? 24 : 0) + (hasPanelTitle ? 14 : 0);
  const each = width / panels.length;
  const bottom = top + PLOT_HEIGHT;
  const body = [
    text(8, 24, 'start', 'heading', title),
    ...names,
    ...panels.map((panel, i) =>
      plot(panel, { left: i * each + LEFT, right: (i + 1) * each - RIGHT, top, bottom }),
    ),
    ...notes.map((note, i) => text(8, bottom + 62 + i * 16, 'start', 'note', note)),
  ];
  const height = bottom + 54 + notes.length * 16;
  return document({ width, height, title, description, id }, body);
}
