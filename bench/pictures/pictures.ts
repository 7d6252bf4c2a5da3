/** The pictures of the documentation: how each is measured, and how its measurement is drawn. */

import { type Chart, type Label, renderChart, type Series } from '../../src/chart/chart.ts';
import type { Budgets } from './budgets.ts';
import type { DiskRss } from './disk-rss.ts';
import { type Measured, provenance } from './measured.ts';
import { type Recording, renderTerminal } from './terminal.ts';
import type { TouchTimes } from './touches.ts';

const oneOf = (rounds: number): string =>
  rounds === 1 ? 'one round' : `medians of ${rounds} rounds`;

function diskRss(measured: Measured<DiskRss>): string {
  const { data } = measured;
  const looks = new Map(data.servers.map(({ name }, look) => [name, look]));
  const [writing] = data.parts;
  const middle = (writing!.from + writing!.to) / 2;
  const labels: readonly Label[] = [
    { x: middle + 6, side: 'above', anchor: 'end' },
    { x: middle + 6, side: 'below', anchor: 'start' },
    { x: middle + 6, side: 'above', anchor: 'end' },
  ];
  const last = (name: string): string => {
    const { rssMib } = data.servers.find((server) => server.name === name)!;
    return `${name}: at most ${Math.round(Math.max(...rssMib))} MiB, ${Math.round(rssMib.at(-1)!)} MiB at the end`;
  };
  const chart: Chart = {
    title: 'RSS of a disk server: write 1 GiB, hold it, trim it',
    description:
      `RSS in MiB over ${data.seconds.at(-1)} seconds, while a client writes ${data.sizeMib} MiB, waits, and ` +
      `discards all of it. ${data.servers.map(({ name }) => last(name)).join('. ')}.`,
    panels: [
      {
        x: { label: 'seconds', ticks: [0, 10, 20, 30, 40] },
        y: { label: 'RSS, MiB', include: [0, 1200] },
        bands: data.parts,
        series: data.servers.map(({ name, rssMib }): Series => {
          const points = data.seconds.map((second, i) => [second, rssMib[i]!] as const);
          return { name, look: looks.get(name)!, points, label: labels[looks.get(name)!]! };
        }),
      },
    ],
    notes: [
      `The same client (qemu-io) at the same rate for each server; ${oneOf(data.rounds)}; servers in turn. Pages: ${data.pages}.`,
      provenance(measured),
    ],
  };
  return renderChart(chart);
}

function budgets(measured: Measured<Budgets>): string {
  const { data } = measured;
  const { plain, paged } = data;
  const points = (figure: (result: Budgets['plain']) => number): [number, number][] =>
    paged.map((result) => [result.budgetMib, figure(result)]);
  const ticks = paged.map(({ budgetMib }) => budgetMib);
  const x = { label: 'resident budget, MiB', log: 2, ticks };
  const chart: Chart = {
    title: `One program, ${data.dataMib} MiB of data: memory and time by resident budget`,
    description:
      `Without frontswap the program takes ${Math.round(plain.rssMib)} MiB and ${plain.cpuSeconds.toFixed(1)} s of processor time. ` +
      paged
        .map(
          ({ budgetMib, rssMib, cpuSeconds, lookUpCpuSeconds }) =>
            `With ${budgetMib} MiB resident: ${Math.round(rssMib)} MiB, ${cpuSeconds.toFixed(1)} s, ` +
            `of which ${lookUpCpuSeconds.toFixed(1)} s for look-ups.`,
        )
        .join(' '),
    panels: [
      {
        title: 'Peak RSS',
        x,
        y: { label: 'MiB', include: [0] },
        rule: { y: plain.rssMib, name: `without frontswap: ${Math.round(plain.rssMib)}` },
        series: [
          {
            name: 'peak RSS',
            look: 0,
            points: points((r) => r.rssMib),
            label: { x: 64, side: 'above', anchor: 'end' },
          },
        ],
      },
      {
        title: 'Processor time, all threads',
        x,
        y: { label: 'seconds', include: [0] },
        rule: { y: plain.cpuSeconds, name: `without frontswap: ${plain.cpuSeconds.toFixed(1)}` },
        series: [
          {
            ...{ name: 'whole program', look: 0, points: points((r) => r.cpuSeconds) },
            label: { x: 64, side: 'above', anchor: 'start' },
          },
          {
            ...{ name: 'its look-ups', look: 1, points: points((r) => r.lookUpCpuSeconds) },
            label: { x: 64, side: 'above', anchor: 'start' },
          },
        ],
      },
    ],
    notes: [
      `SQLite in WebAssembly (${data.program}) under frontswap/register; ${oneOf(data.rounds)}, in turn.`,
      provenance(measured),
    ],
  };
  return renderChart(chart);
}

const patternNames: Readonly<Record<string, string>> = {
  'rand-read': 'Random reads',
  'seq-read': 'Sequential reads',
};

function touchTimes(measured: Measured<TouchTimes>): string {
  const { data } = measured;
  // Sharing a core changes the mean, hardly the distribution: its line would cover the other.
  const distributions = data.distributions.filter(({ pager }) => !pager.endsWith('one core'));
  const pagers = [...new Set(distributions.map(({ pager }) => pager))];
  const patterns = [...new Set(distributions.map(({ pattern }) => pattern))];
  const share = Math.round((100 * data.budgetMib) / data.regionMib);
  const percentile = (quantiles: readonly number[], at: number): number =>
    quantiles[Math.round(((quantiles.length - 1) * at) / 100)]!;
  const chart: Chart = {
    title: 'Time of one access to paged memory',
    description: distributions
      .map(
        ({ pattern, pager, quantilesUs, meanUs }) =>
          `${patternNames[pattern]}, ${pager}: median ${percentile(quantilesUs, 50)} µs, ` +
          `99 % within ${percentile(quantilesUs, 99)} µs, mean ${meanUs} µs.`,
      )
      .join(' '),
    panels: patterns.map((pattern) => ({
      title: patternNames[pattern] ?? pattern,
      x: { label: 'time of an access, µs', log: 10, include: [0.01, 1000] },
      y: { label: '% of accesses within that time', include: [0, 100] },
      series: distributions
        .filter((distribution) => distribution.pattern === pattern)
        .map(
          ({ pager, quantilesUs }): Series => ({
            name: pager,
            look: pagers.indexOf(pager),
            points: quantilesUs
              .slice(0, -1)
              .map((us, i) => [us, (100 * i) / (quantilesUs.length - 1)]),
          }),
        ),
    })),
    notes: [
      `${data.regionMib} MiB of pages, ${data.budgetMib} MiB resident: ${share} % of random accesses find their page resident; ${oneOf(data.rounds)}, pagers in turn.`,
      'The slowest 0.5 % are left out: other load on the machine determines how long they take.',
      provenance(measured),
    ],
  };
  return renderChart(chart);
}

function demo(measured: Measured<Recording>): string {
  const { data } = measured;
  const end = data.events.map(([, written]) => written).join('');
  const peaks = [...end.matchAll(/(plain|paged) +#* +([\d.]+M) +([\d.]+ s)/g)].map(
    ([, name, rss, time]) => `${name} ${rss} in ${time}`,
  );
  return renderTerminal({
    title: 'The demo: SQLite plain and paged',
    description: `A terminal in which ${data.command} runs SQLite plain, then paged. Peak RSS and time: ${peaks.join(', ')}.`,
    recording: data,
    notes: [provenance(measured)],
  });
}

/** By name: how a measurement of that name is drawn. Its type is what bench/pictures/main.ts measures. */
const renderers: Readonly<Record<string, (measured: Measured<never>) => string>> = {
  'disk-rss': diskRss,
  budgets,
  'touch-times': touchTimes,
  demo,
};

export const pictureNames: readonly string[] = Object.keys(renderers);

export function render(name: string, measured: Measured<unknown>): string {
  const renderer = renderers[name];
  if (renderer === undefined) throw new Error(`no picture '${name}'`);
  return renderer(measured as Measured<never>);
}
