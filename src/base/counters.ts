/**
 * Counters. Each is declared once, with its unit and expected value. The values share one Float64Array (exact to
 * 2^53), which statistics, the control socket and tests read.
 *
 * Cost: add() is one array write and allocates nothing; snapshot() allocates, so keep it off hot paths.
 */

export interface CounterSpec {
  /** The unit: `requests`, `pages`, `bytes`. */
  readonly unit: string;
  /** True: any value other than 0 indicates a fault. */
  readonly mustStayZero: boolean;
  readonly help: string;
}

/** A counter that may have any value. */
export const counted = (unit: string, help: string): CounterSpec => ({
  unit,
  mustStayZero: false,
  help,
});
/** A counter of faults. */
export const mustStayZero = (unit: string, help: string): CounterSpec => ({
  unit,
  mustStayZero: true,
  help,
});

/** Index of each counter in `values`, the same in all instances of these specs. */
export const positionsOf = <Name extends string>(
  specs: Readonly<Record<Name, CounterSpec>>,
): Readonly<Record<Name, number>> =>
  Object.fromEntries(Object.keys(specs).map((name, at) => [name, at])) as Record<Name, number>;

export class Counters<Name extends string> {
  readonly names: readonly Name[];
  readonly specs: Readonly<Record<Name, CounterSpec>>;
  /** Index of each counter in `values`. Look it up once, outside the hot path. */
  readonly index: Readonly<Record<Name, number>>;
  readonly values: Float64Array;

  constructor(specs: Readonly<Record<Name, CounterSpec>>) {
    this.specs = specs;
    this.names = Object.keys(specs) as Name[];
    this.index = positionsOf(specs);
    this.values = new Float64Array(this.names.length);
  }

  add(name: Name, count: number): void {
    this.values[this.index[name]]! += count;
  }

  get(name: Name): number {
    return this.values[this.index[name]]!;
  }

  snapshot(): Record<Name, number> {
    return Object.fromEntries(this.names.map((name) => [name, this.get(name)])) as Record<
      Name,
      number
    >;
  }

  /** One line for each counter, for people to read: value, unit, name, meaning. */
  describe(): string {
    const lines = this.names.map((name) => {
      const { unit, mustStayZero, help } = this.specs[name];
      return `${this.get(name)} ${unit} ${name}: ${help}${mustStayZero ? ' (must stay 0)' : ''}\n`;
    });
    return lines.join('');
  }

  /** Names of the counters that must stay 0 and are not 0. */
  violated(): Name[] {
    return this.names.filter((name) => this.specs[name].mustStayZero && this.get(name) !== 0);
  }
}
