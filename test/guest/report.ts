/** A guest run as a table for people: what the server held and cost at each boundary. */
import type { GuestResult } from '../support/fixtures/guest-run.ts';

const mib = (n: number | undefined): string => (n === undefined ? '-' : (n / 2 ** 20).toFixed(0));

export function tableOf(result: GuestResult): string {
  const { discard, ramMib, hogMib, seed } = result.options;
  const rows = result.points.map((p) => [
    p.name,
    p.seconds.toFixed(1),
    String(p.pswpin),
    String(p.pswpout),
    mib(p.usedKib * 1024),
    mib(p.usedBytes ?? p.allocatedBytes),
    mib(p.residentBytes),
    p.serverSeconds.toFixed(2),
  ]);
  const head = ['at', 's', 'pswpin', 'pswpout', 'in use', 'held', 'RSS', 'server s'];
  const title =
    `${result.server}, discard=${discard}: ${hogMib} MiB in ${ramMib} MiB of RAM, seed ${seed}; ` +
    `${result.seconds.toFixed(1)} s; RSS ${mib(result.startBytes)} at start, ${mib(result.idleBytes)} idle, ${mib(result.leftBytes)} MiB with the guest gone`;
  return `${title}\n${columns([head, ...rows])}`;
}

/** First column to the left, the others to the right. */
function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd();
  return rows.map((row) => `  ${line(row)}`).join('\n');
}
