/** The figures of the last second, as a list of names and values. */
import { element, setText } from './dom.ts';
import { formatBytes, formatCount, formatRatio, formatSeconds, NONE } from './format.ts';
import type { History } from './history.ts';

interface Tile {
  readonly name: string;
  readonly value: (history: History) => string;
  /** A second line of text. */
  readonly note?: (history: History) => string;
}

const seconds = (value: number | null): string => (value === null ? NONE : formatSeconds(value));

const tiles: readonly Tile[] = [
  {
    name: 'Clients',
    value: (h) => formatCount(h.latest('clients') ?? 0),
    note: () => 'connections',
  },
  {
    name: 'Stored data',
    value: (h) => formatBytes(h.latest('dataBytes') ?? 0),
    note: (h) => `backing ${formatBytes(h.latest('backingBytes') ?? 0)}`,
  },
  {
    name: 'Memory of disks',
    value: (h) => formatBytes(h.latest('usedBytes') ?? 0),
    note: (h) => {
      const limit = h.latest('limitBytes') ?? 0;
      return limit === 0 ? 'no limit' : `of ${formatBytes(limit)}`;
    },
  },
  {
    name: 'Ratio',
    value: (h) => {
      const [data, used] = [h.latest('dataBytes') ?? 0, h.latest('usedBytes') ?? 0];
      return formatRatio(data === 0 || used === 0 ? null : data / used);
    },
    note: () => 'data / memory',
  },
  {
    name: 'Requests',
    value: (h) => `${formatCount((h.latest('reads') ?? 0) + (h.latest('writes') ?? 0))}/s`,
    note: (h) => `frees ${formatCount(h.latest('discards') ?? 0)}/s`,
  },
  {
    name: 'Latency of frees',
    value: (h) => seconds(h.latest('freeP50')),
    note: (h) =>
      h.latest('freeP99') === null ? 'no frees now' : `99 %: ${seconds(h.latest('freeP99'))}`,
  },
  {
    name: 'Refused',
    value: (h) => `${formatCount(h.latest('refusals') ?? 0)}/s`,
    note: () => 'requests',
  },
  {
    name: 'Resident',
    value: (h) => formatBytes(h.latest('residentBytes') ?? 0),
    note: () => 'the whole host',
  },
];

/** Adds the list to `parent`, a <dl>. @returns a function that updates it */
export function showTiles(parent: HTMLElement): (history: History) => void {
  const cells = tiles.map(({ name }) => {
    const value = element('span', { class: 'value' });
    const note = element('span', { class: 'note' });
    parent.append(element('div', {}, element('dt', {}, name), element('dd', {}, value, note)));
    return { value, note };
  });
  return (history) => {
    for (const [i, { value, note }] of tiles.entries()) {
      setText(cells[i]!.value, value(history));
      setText(cells[i]!.note, note?.(history) ?? '');
    }
  };
}
