/** The samples that the page has, by column: those of `hello`, then one per second. */
import type { Hello, Sample, SampleColumn, SampleValue } from './wire.ts';

export const HISTORY_SECONDS = 900;

export class History {
  #names: readonly string[] = [];
  #columns: SampleValue[][] = [];

  /** Replaces everything. */
  load({ columns, history }: Hello): void {
    this.#names = columns;
    this.#columns = history.map(() => []);
    const count = history[0]?.length ?? 0;
    for (let i = 0; i < count; i++) this.#push(history.map((column) => column[i] ?? null));
  }

  add({ values }: Sample): void {
    this.#push(values);
  }

  #push(values: readonly SampleValue[]): void {
    const now = values[this.#names.indexOf('time')] ?? 0;
    const first = now - HISTORY_SECONDS;
    const times = this.column('time');
    // If the clock was set back, drop samples: plots need ascending times.
    while ((times.at(-1) ?? -1) >= now) for (const column of this.#columns) column.pop();
    let old = 0;
    while (old < times.length && (times[old] ?? 0) < first) old++;
    for (const [i, column] of this.#columns.entries()) {
      column.push(values[i] ?? null);
      column.splice(0, old);
    }
  }

  get length(): number {
    return this.#columns[0]?.length ?? 0;
  }

  /** Empty if the host does not send it. */
  column(name: SampleColumn): readonly SampleValue[] {
    return this.#columns[this.#names.indexOf(name)] ?? [];
  }

  latest(name: SampleColumn): SampleValue {
    return this.column(name).at(-1) ?? null;
  }
}
