/**
 * The plots: a uPlot canvas, a text legend with figures, and a table of the same numbers. Series differ by colour and
 * dashes. While the pointer is on a plot, all legends show the figures of that second.
 */
import uPlot from 'uplot';
import { element, makeScrollable, setText } from './dom.ts';
import { formatTime, NONE } from './format.ts';
import { HISTORY_SECONDS, type History } from './history.ts';
import { type PlotSpec, plotSpecs } from './plot-specs.ts';
import type { SampleValue } from './wire.ts';

const HEIGHT = 160;
/** Screen readers get a new summary of a plot after this many samples. */
const SUMMARY_SAMPLES = 15;
const TABLE_SECONDS = 60;
const dashes: readonly (readonly number[])[] = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const SYNC = 'host';

interface Colours {
  readonly text: string;
  readonly grid: string;
  readonly series: readonly string[];
}

function coloursNow(): Colours {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string): string => style.getPropertyValue(name).trim();
  return {
    text: read('--muted'),
    grid: read('--grid'),
    series: [1, 2, 3, 4].map((i) => read(`--series-${i}`)),
  };
}

/** Steps of an axis of bytes: 1, 2, 4 ... 512 of each unit. */
const binarySteps = Array.from({ length: 50 }, (_, i) => 2 ** i);

class Plot {
  readonly root: HTMLElement;
  readonly #spec: PlotSpec;
  readonly #frame: HTMLElement;
  readonly #time: HTMLElement;
  readonly #values: readonly HTMLElement[];
  readonly #details: HTMLDetailsElement;
  readonly #history: History;
  #chart: uPlot | null = null;
  /** The second that the pointer is on; null: the latest. */
  #at: number | null = null;
  #updates = 0;

  constructor(spec: PlotSpec, history: History) {
    this.#spec = spec;
    this.#history = history;
    this.#frame = element('div', { class: 'frame', role: 'img' });
    this.#time = element('span', { class: 'time' });
    this.#values = spec.series.map(() => element('dd'));
    const legend = element('dl', { class: 'legend' });
    for (const [i, { name }] of spec.series.entries())
      legend.append(element('div', {}, element('dt', {}, swatch(i), name), this.#values[i]!));
    this.#details = element(
      'details',
      {},
      element('summary', {}, 'Table', element('span', { class: 'unseen' }, ` of ${spec.title}`)),
    );
    this.#details.addEventListener('toggle', () => this.#showTable());
    const title = element('figcaption', {}, element('h3', {}, spec.title), this.#time);
    this.root = element('figure', {}, title, this.#frame, legend, this.#details);
  }

  get width(): number {
    return this.#frame.clientWidth;
  }

  /** Draws in new colours or another width. */
  draw(colours: Colours): void {
    this.#chart?.destroy();
    this.#chart = new uPlot(this.#options(colours), this.#data(), this.#frame);
    this.#summarise();
  }

  update(): void {
    this.#chart?.setData(this.#data());
    if (this.#at === null) this.#showValues(null);
    if (this.#updates++ % SUMMARY_SAMPLES === 0) this.#summarise();
    if (this.#details.open && this.#updates % TABLE_SECONDS === 0) this.#showTable();
  }

  #options({ text, grid, series }: Colours): uPlot.Options {
    const { format, isBinary, isStacked, top, series: all } = this.#spec;
    const axis = { stroke: text, font: '12px system-ui', ticks: { show: false } };
    const lines = { grid: { stroke: grid, width: 1 } };
    return {
      width: Math.max(200, this.width),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: SYNC }, points: { size: 7 } },
      scales: {
        x: { time: true, range: () => this.#range() },
        y: { range: (_, __, max) => [0, Math.max(top, (max ?? 0) * 1.08)] },
      },
      axes: [
        {
          ...axis,
          ...lines,
          size: 26,
          gap: 6,
          space: 56,
          values: (_, at) => at.map((s) => formatTime(s, false)),
        },
        {
          ...axis,
          ...lines,
          size: 68,
          space: 34,
          values: (_, at) => at.map((value) => format(value)),
          ...(isBinary ? { incrs: binarySteps } : {}),
        },
      ],
      series: [
        {},
        ...all.map((_, i) => ({
          stroke: series[i]!,
          width: 1.5,
          dash: [...dashes[i]!],
          points: { show: (u: uPlot) => this.#isLonely(u, i) },
          ...(isStacked ? { fill: `color-mix(in srgb, ${series[i]} 45%, ${grid})` } : {}),
        })),
      ],
      hooks: {
        setCursor: [
          ({ cursor }) => {
            this.#at = cursor.idx ?? null;
            this.#showValues(this.#at);
          },
        ],
      },
    };
  }

  /** A series with isolated values between gaps shows points, because lines need two. */
  #isLonely(chart: uPlot, series: number): boolean {
    const values = chart.data[series + 1] ?? [];
    return values.some(
      (value, i) => value != null && values[i - 1] == null && values[i + 1] == null,
    );
  }

  #range(): [number, number] {
    const end = this.#history.latest('time') ?? Date.now() / 1000;
    return [end - HISTORY_SECONDS, end];
  }

  #data(): uPlot.AlignedData {
    const times = this.#history.column('time').map((time) => time ?? 0);
    const columns = this.#spec.series.map(({ values }) => [...values(this.#history)]);
    if (this.#spec.isStacked)
      for (let i = columns.length - 2; i >= 0; i--)
        columns[i] = columns[i]!.map((value, at) => (value ?? 0) + (columns[i + 1]![at] ?? 0));
    return [times, ...columns];
  }

  #showValues(at: number | null): void {
    const index = at ?? this.#history.length - 1;
    const time = this.#history.column('time')[index] ?? null;
    setText(this.#time, at === null || time === null ? '' : formatTime(time, true));
    for (const [i, { values }] of this.#spec.series.entries())
      setText(this.#values[i]!, this.#text(values(this.#history)[index] ?? null));
  }

  #text(value: SampleValue): string {
    return value === null ? NONE : this.#spec.format(value);
  }

  /** What the picture shows, in words. */
  #summarise(): void {
    const parts = this.#spec.series.map(({ name, values }) => {
      const all = values(this.#history);
      const known = all.filter((value) => value !== null);
      if (known.length === 0) return `${name}: no values`;
      const [low, high] = [Math.min(...known), Math.max(...known)];
      const now = this.#text(all.at(-1) ?? null);
      return `${name}: ${now} now, from ${this.#text(low)} to ${this.#text(high)}`;
    });
    const label = `${this.#spec.title}, last 15 minutes. ${parts.join('. ')}.`;
    this.#frame.setAttribute('aria-label', label);
  }

  /** One row per minute, the newest first. */
  #showTable(): void {
    this.#details.querySelector('.scroll')?.remove();
    if (!this.#details.open) return;
    const { title, series } = this.#spec;
    const times = this.#history.column('time');
    const head = ['Time', ...series.map(({ name }) => name)].map((name) =>
      element('th', { scope: 'col' }, name),
    );
    const rows: HTMLElement[] = [];
    for (let i = times.length - 1; i >= 0; i -= TABLE_SECONDS) {
      const cells = series.map(({ values }) =>
        element('td', {}, this.#text(values(this.#history)[i] ?? null)),
      );
      const time = element('th', { scope: 'row' }, formatTime(times[i] ?? 0, true));
      rows.push(element('tr', {}, time, ...cells));
    }
    const caption = element('caption', {}, `${title}, one row per minute`);
    const table = element(
      'table',
      {},
      caption,
      element('thead', {}, element('tr', {}, ...head)),
      element('tbody', {}, ...rows),
    );
    const scroll = element('div', { class: 'scroll' }, table);
    makeScrollable(scroll, `${title}, table`);
    this.#details.append(scroll);
  }
}

/** A piece of the line of a series. */
function swatch(series: number): SVGElement {
  const name = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(name, 'svg');
  svg.setAttribute('viewBox', '0 0 30 8');
  svg.setAttribute('class', `swatch series-${series + 1}`);
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS(name, 'line');
  for (const [key, value] of Object.entries({ x1: '0', y1: '4', x2: '30', y2: '4' }))
    line.setAttribute(key, value);
  line.setAttribute('stroke-dasharray', dashes[series]!.join(' '));
  svg.append(line);
  return svg;
}

/** All plots, in `parent`. */
export class Plots {
  readonly #plots: readonly Plot[];
  #isDrawn = false;

  constructor(parent: HTMLElement, history: History) {
    this.#plots = plotSpecs.map((spec) => new Plot(spec, history));
    parent.append(...this.#plots.map(({ root }) => root));
    let width = 0;
    new ResizeObserver(() => {
      const now = this.#plots[0]!.width;
      if (now === width) return;
      width = now;
      this.#draw();
    }).observe(parent);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  /** Shows the history, after hello or a sample. */
  update(): void {
    if (!this.#isDrawn) {
      this.#isDrawn = true;
      this.#draw();
    }
    for (const plot of this.#plots) plot.update();
  }

  #draw(): void {
    if (!this.#isDrawn) return;
    const colours = coloursNow();
    for (const plot of this.#plots) plot.draw(colours);
  }
}
