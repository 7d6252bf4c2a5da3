/** The file of a measurement: its figures, the machine, the date and the command. */
import { machine } from '../measure.ts';

export interface Measured<Data> {
  readonly schemaVersion: 1;
  /** Name of the picture: NAME.json renders to NAME.svg. */
  readonly name: string;
  readonly command: string;
  /** Day of the measurement, YYYY-MM-DD. */
  readonly date: string;
  readonly machine: Readonly<Record<string, string | number>>;
  readonly data: Data;
}

export async function measured<Data>(
  name: string,
  options: string,
  measure: () => Promise<Data>,
): Promise<Measured<Data>> {
  const before = machine();
  const data = await measure();
  // No commit: the history of the file records it, and a rebase would invalidate a hash.
  const { loadAverage, commit: _, ...rest } = before;
  return {
    schemaVersion: 1,
    name,
    command: `npm run pictures -- --measure ${name} ${options}`,
    date: new Date().toISOString().slice(0, 10),
    machine: {
      ...rest,
      loadAverageBefore: loadAverage ?? 'unknown',
      loadAverageAfter: machine()['loadAverage'] ?? 'unknown',
    },
    data,
  };
}

/** The line below a picture: where and when its figures were measured. */
export function provenance({ machine: on, date }: Measured<unknown>): string {
  return [
    `${on['processor']}, shared`,
    `kernel ${String(on['kernel']).replace(/-.*/, '')}`,
    `Node ${String(on['node']).replace(/^v/, '')}`,
    `load average ${on['loadAverageBefore']} to ${on['loadAverageAfter']}`,
    date,
  ].join(' · ');
}
