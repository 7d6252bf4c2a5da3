/**
 * Counters: declared once with a unit and the value they should have, kept side by side in one
 * Float64Array (exact to 2^53), read by statistics, control socket and tests alike.
 *
 * Cost: add() is one array write, nothing is allocated; snapshot() is for people, not for hot paths.
 */

export interface CounterSpec {
  /** What one step of the counter is: `requests`, `pages`, `bytes`. */
  readonly unit: string;
  /** True: any other value than 0 means that something is wrong. */
  readonly mustStayZero: boolean;
  readonly help: string;
}

/** Position of each counter in `values`, for all instances of these specs. */
export const positionsOf = <Name extends string>(
  specs: Readonly<Record<Name, CounterSpec>>,
): Readonly<Record<Name, number>> =>
  Object.fromEntries(Object.keys(specs).map((name, at) => [name, at])) as Record<Name, number>;

export class Counters<Name extends string> {
  readonly names: readonly Name[];
  readonly specs: Readonly<Record<Name, CounterSpec>>;
  /** Position of each counter in `values`. Look it up once, outside the hot path. */
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

  /** A line a counter, for people: value, unit, name, meaning. */
  describe(): string {
    const lines = this.names.map((name) => {
      const { unit, mustStayZero, help } = this.specs[name];
      return `${this.get(name)} ${unit} ${name}: ${help}${mustStayZero ? ' (must stay 0)' : ''}\n`;
    });
    return lines.join('');
  }

  /** Names of the counters that must stay 0 and did not. */
  violated(): Name[] {
    return this.names.filter((name) => this.specs[name].mustStayZero && this.get(name) !== 0);
  }
}
