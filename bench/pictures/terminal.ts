/**
 * A recording of a terminal as a picture that plays once and ends with the last screen. Readers who prefer reduced
 * motion, and viewers without animation, see the last screen at once.
 *
 * The screen is the part of a terminal that the programs here use: lines of text, carriage return, erase line, hidden
 * cursor. Any other control sequence is an error, so that no picture shows what the terminal did not.
 */
import { document, element, escapeXml } from '../../src/chart/svg.ts';

export interface Recording {
  readonly command: string;
  /** Width of the terminal, characters. */
  readonly columns: number;
  /** The program's output, and its time in ms after the first output. */
  readonly events: readonly (readonly [number, string])[];
}

/** The contents of a row of the screen during a period; `to` is null if the row stays until the end. */
export interface Shown {
  readonly row: number;
  readonly text: string;
  readonly from: number;
  readonly to: number | null;
}

const CELL = 7.6;
const ROW = 18;
const PAD = 16;

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal sequences begin with ESC
const tokens = /\x1b\[(\?25[lh]|[02]?K|0?m)|(\r)|(\n)|([^\x00-\x1f\x7f]+)|([\s\S])/gu;

class Screen {
  readonly rows: string[] = [''];
  readonly #columns: number;
  #row = 0;
  #column = 0;

  constructor(columns: number) {
    this.#columns = columns;
  }

  write(written: string): void {
    for (const [all, sequence, isReturn, isNewline, plain] of written.matchAll(tokens)) {
      if (plain !== undefined) this.#print(plain);
      else if (isReturn !== undefined) this.#column = 0;
      else if (isNewline !== undefined) this.#newline();
      else if (sequence?.endsWith('K') === true) this.#erase(sequence);
      else if (sequence === undefined)
        throw new RangeError(`the recording has the control code ${JSON.stringify(all)}`);
    }
  }

  /** Text that reaches the right edge goes on in the next row. */
  #print(plain: string): void {
    for (let rest = plain; rest !== ''; ) {
      if (this.#column === this.#columns) this.#newline();
      const part = rest.slice(0, this.#columns - this.#column);
      const line = this.rows[this.#row]!.padEnd(this.#column);
      const end = this.#column + part.length;
      this.rows[this.#row] = line.slice(0, this.#column) + part + line.slice(end);
      this.#column = end;
      rest = rest.slice(part.length);
    }
  }

  /** A pty turns \n into \r\n; alone it is the same here. */
  #newline(): void {
    this.#row++;
    this.#column = 0;
    this.rows[this.#row] ??= '';
  }

  #erase(sequence: string): void {
    const isAll = sequence.startsWith('2');
    this.rows[this.#row] = isAll ? '' : this.rows[this.#row]!.slice(0, this.#column);
  }
}

/** Every text of every row, in the order of its start; blank rows are left out. */
export function shownBy({ events, columns }: Recording): Shown[] {
  const screen = new Screen(columns);
  const all: Shown[] = [];
  const current: { text: string; from: number }[] = [];
  const end = (row: number, to: number | null): void => {
    const { text, from } = current[row]!;
    if (text.trim() !== '' && from !== to) all.push({ row, text, from, to });
  };
  for (const [at, written] of events) {
    screen.write(written);
    for (const [row, line] of screen.rows.entries()) {
      const text = line.trimEnd();
      if (current[row]?.text === text) continue;
      if (current[row] !== undefined) end(row, at);
      current[row] = { text, from: at };
    }
  }
  for (const row of current.keys()) end(row, null);
  return all.sort((a, b) => a.from - b.from || a.row - b.row);
}

const seconds = (ms: number): string => `${Number((ms / 1000).toFixed(2))}s`;

/** One row; `textLength` keeps columns aligned in any monospaced font. */
function line({ row, text, from, to }: Shown): string {
  const leading = text.length - text.trimStart().length;
  const shown = text.trimStart();
  const timing =
    to === null
      ? { class: 'cell end', style: `animation-delay:${seconds(from)}` }
      : {
          class: 'cell once',
          style: `animation-delay:${seconds(from)};animation-duration:${seconds(to - from)}`,
        };
  const attributes = {
    x: PAD + leading * CELL,
    y: PAD + 13 + (row + 1) * ROW,
    textLength: shown.length * CELL,
    'xml:space': 'preserve',
    ...timing,
  };
  return element('text', attributes, escapeXml(shown));
}

const style = [
  'text.cell{font:12.5px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;',
  'fill:#1f2328;white-space:pre}.prompt{font-weight:600}.screen{fill:#f6f8fa;stroke:#d1d9e0}',
  '.once{visibility:hidden}',
  '@media(prefers-color-scheme:dark){text.cell{fill:#e6edf3}.screen{fill:#161b22;stroke:#30363d}}',
  '@keyframes appear{from{visibility:hidden}to{visibility:visible}}',
  '@keyframes visible{from,to{visibility:visible}}',
  '@media(prefers-reduced-motion:no-preference){',
  '.end{animation:appear .01s both}.once{animation-name:visible}}',
].join('');

export interface TerminalPicture {
  readonly title: string;
  readonly description: string;
  readonly recording: Recording;
  readonly notes: readonly string[];
}

export function renderTerminal(picture: TerminalPicture): string {
  const { title, description, recording, notes } = picture;
  const shown = shownBy(recording);
  const rows = Math.max(0, ...shown.map(({ row }) => row + 1)) + 1;
  const width = recording.columns * CELL + 2 * PAD;
  const bottom = rows * ROW + 2 * PAD;
  const screen = { x: 0.5, y: 0.5, width: width - 1, height: bottom - 1, rx: 6, class: 'screen' };
  const prompt = {
    x: PAD,
    y: PAD + 13,
    textLength: (recording.command.length + 2) * CELL,
    class: 'cell prompt',
  };
  const body = [
    element('rect', screen),
    element('text', prompt, escapeXml(`$ ${recording.command}`)),
    ...shown.map(line),
    ...notes.map((note, i) =>
      element('text', { x: 2, y: bottom + 18 + i * 16, class: 'note' }, escapeXml(note)),
    ),
  ];
  const height = bottom + (notes.length > 0 ? 8 + notes.length * 16 : 0);
  return document({ width, height, title, description, style }, body);
}
