/** The metrics of the tmem socket. The label `uid` is the user id of a client, as the kernel reports it: at most 256 at a time. */
import { label } from './exposition.ts';
import { counter, type Family, gauge, host, type MetricsFacts } from './metric-family.ts';
import type { TmemReport, TmemUserReport } from './parts.ts';

type Rest = ReturnType<typeof gauge>;

/** A family of the socket as a whole; without samples if there is no socket. */
const tmem = (name: string, rest: Rest, of: (report: TmemReport) => number): Family =>
  host(`tmem_${name}`, rest, (facts) => (facts.tmem === null ? null : of(facts.tmem)));

/** A family with a sample for each user, or one for each user and value of the label `by`. */
function userBy(
  name: string,
  rest: Rest,
  by: string | null,
  values: Readonly<Record<string, (user: TmemUserReport) => number>>,
): Family {
  const samples = Object.entries(values).map(([value, of]) => ({
    labels: by === null ? '' : `,${label(by, value)}`,
    of,
  }));
  return {
    ...host(`tmem_${name}`, rest, () => 0),
    of: 'host',
    labels: by === null ? ['uid'] : ['uid', by],
    write: (out, { tmem: report }: MetricsFacts) => {
      for (const user of report?.users ?? [])
        for (const { labels, of } of samples)
          out.add(`${label('uid', String(user.uid))}${labels}`, of(user));
    },
  };
}
const user = (name: string, rest: Rest, of: (user: TmemUserReport) => number): Family =>
  userBy(name, rest, null, { '': of });

export const tmemFamilies: readonly Family[] = [
  tmem(
    'memory_used_bytes',
    gauge('bytes', 'Memory of the tmem socket, metadata included.'),
    (t) => t.usedBytes,
  ),
  tmem(
    'memory_limit_bytes',
    gauge('bytes', 'Limit of the memory of the tmem socket; 0: none.'),
    (t) => t.limitBytes,
  ),
  tmem(
    'freeable_bytes',
    gauge('bytes', 'Compressed pages that eviction could free.'),
    (t) => t.freeableBytes,
  ),
  user('connections', gauge('', 'Connections of the user.'), (u) => u.connections),
  user(
    'frozen',
    gauge('', 'Whether the user is frozen, so that its puts are refused: 1 or 0.'),
    (u) => (u.isFrozen ? 1 : 0),
  ),
  userBy('stored_pages', gauge('pages', 'Stored pages, by kind of pool.'), 'kind', {
    ephemeral: (u) => u.ephemeralPages,
    persistent: (u) => u.persistentPages,
  }),
  user(
    'compressed_bytes',
    gauge('bytes', 'Stored pages after compression.'),
    (u) => u.compressedBytes,
  ),
  userBy(
    'puts',
    counter('', 'Puts. Results: stored; refused (frozen, over the cap, or no space).'),
    'result',
    { stored: (u) => u.puts, refused: (u) => u.refusedPuts },
  ),
  user('gets', counter('', 'Gets that found their page.'), (u) => u.gets),
  user(
    'evicted_pages',
    counter('pages', 'Ephemeral pages evicted to make space.'),
    (u) => u.evictedPages,
  ),
];
