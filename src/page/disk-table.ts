/** The table of disks. Rows are updated in place, so that a focused button keeps the focus. */
import { byId, element, setText } from './dom.ts';
import { formatBytes, formatCount, formatRatio, NONE } from './format.ts';
import type { DiskRow } from './wire.ts';

interface Column {
  readonly name: string;
  readonly text: (disk: DiskRow) => string;
}

const NEARLY_FULL = 0.9;
const shareOf = ({ usedBytes, limitBytes }: DiskRow): number =>
  limitBytes === 0 ? 0 : Math.min(1, usedBytes / limitBytes);

function stateOf(disk: DiskRow): string {
  if (disk.isFrozen) return '❄ frozen';
  return shareOf(disk) > NEARLY_FULL ? '⚠ nearly full' : 'active';
}

const columns: readonly Column[] = [
  { name: 'State', text: stateOf },
  { name: 'Size', text: (d) => formatBytes(d.diskSizeBytes) },
  { name: 'Data', text: (d) => formatBytes(d.dataBytes) },
  { name: 'Memory', text: (d) => formatBytes(d.usedBytes) },
  { name: 'Limit', text: (d) => (d.limitBytes === 0 ? 'none' : formatBytes(d.limitBytes)) },
  {
    name: 'Ratio',
    text: (d) =>
      formatRatio(d.dataBytes === 0 || d.usedBytes === 0 ? null : d.dataBytes / d.usedBytes),
  },
  { name: 'Backing', text: (d) => (d.backingBytes === 0 ? NONE : formatBytes(d.backingBytes)) },
  { name: 'Reads/s', text: (d) => formatCount(d.reads) },
  { name: 'Writes/s', text: (d) => formatCount(d.writes) },
  { name: 'Frees/s', text: (d) => formatCount(d.discards) },
  { name: 'Refused', text: (d) => formatCount(d.refused) },
  { name: 'Clients', text: (d) => formatCount(d.connections) },
];

export type DiskAction = 'set' | 'gate' | 'remove';

interface Row {
  readonly root: HTMLTableRowElement;
  readonly cells: readonly HTMLElement[];
  readonly bar: HTMLElement;
  readonly gate: HTMLButtonElement;
}

export class DiskTable {
  readonly #body = byId('disks').querySelector('tbody')!;
  readonly #rows = new Map<string, Row>();
  readonly #onAction: (action: DiskAction, name: string) => void;

  constructor(onAction: (action: DiskAction, name: string) => void) {
    this.#onAction = onAction;
    const names = ['Disk', ...columns.map(({ name }) => name), 'Actions'];
    const cells = names.map((name) => element('th', { scope: 'col', role: 'columnheader' }, name));
    cells.at(-1)!.classList.add('actions');
    const head = byId('disks').querySelector('thead')!;
    // On a narrow screen, the table is laid out as cards, which would drop its roles.
    byId('disks').setAttribute('role', 'table');
    for (const group of [head, this.#body]) group.setAttribute('role', 'rowgroup');
    head.append(element('tr', { role: 'row' }, ...cells));
  }

  update(disks: readonly DiskRow[]): void {
    const names = new Set(disks.map(({ name }) => name));
    for (const [name, { root }] of this.#rows)
      if (!names.has(name)) {
        // Removing the focused element would move the focus to the top of the page.
        if (root.contains(document.activeElement)) byId('disks-heading').focus();
        root.remove();
        this.#rows.delete(name);
      }
    for (const disk of disks) {
      const row = this.#rows.get(disk.name) ?? this.#addRow(disk.name);
      for (const [i, { text }] of columns.entries()) setText(row.cells[i]!, text(disk));
      const share = shareOf(disk);
      row.bar.style.width = `${share * 100}%`;
      row.bar.parentElement!.hidden = disk.limitBytes === 0;
      row.bar.dataset['full'] = String(share > NEARLY_FULL);
      row.root.dataset['frozen'] = String(disk.isFrozen);
      setText(row.gate.firstElementChild as HTMLElement, disk.isFrozen ? 'Thaw' : 'Freeze');
    }
    byId('disks').hidden = disks.length === 0;
    byId('no-disks').hidden = disks.length > 0;
  }

  #addRow(name: string): Row {
    const bar = element('span');
    const cells = columns.map(() => element('span'));
    const data = columns.map((column, i) => {
      const cell = element('td', { role: 'cell', 'data-name': column.name }, cells[i]!);
      if (column.name === 'Memory')
        cell.append(element('span', { class: 'bar', 'aria-hidden': 'true' }, bar));
      return cell;
    });
    const gate = this.#button('gate', name, 'Freeze');
    const actions = element(
      'td',
      { role: 'cell', class: 'actions' },
      this.#button('set', name, 'Change'),
      gate,
      this.#button('remove', name, 'Remove'),
    );
    const head = element('th', { scope: 'row', role: 'rowheader' }, name);
    const root = element('tr', { role: 'row' }, head, ...data, actions);
    this.#body.append(root);
    const row = { root, cells, bar, gate };
    this.#rows.set(name, row);
    return row;
  }

  #button(action: DiskAction, name: string, text: string): HTMLButtonElement {
    const button = element(
      'button',
      { type: 'button', 'data-action': action },
      element('span', {}, text),
      element('span', { class: 'unseen' }, ` disk ${name}`),
    );
    button.addEventListener('click', () => this.#onAction(action, name));
    return button;
  }
}
