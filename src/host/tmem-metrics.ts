/** The metrics of the tmem socket. The label `uid` is the user id of a client, as the kernel reports it: at most 256 at a time. */
import { label, type Samples } from './exposition.ts';
import {
  counter,
  type Family,
  gauge,
  host,
  type Rest,
  samplesBy,
  type Values,
} from './metric-family.ts';
import type { TmemReport, TmemUserReport } from './parts.ts';

/** A family of the socket as a whole; without samples if there is no socket. */
const tmem = (name: string, rest: Rest, of: (report: TmemReport) => number): Family =>
  host(`tmem_${name}`, rest, (facts) => (facts.tmem === null ? null : of(facts.tmem)));

/** A family with samples for each user. */
const ofUsers = (
  name: string,
  rest: Rest,
  by: readonly string[],
  write: (out: Samples, labels: string, user: TmemUserReport) => void,
): Family => ({
  ...host(`tmem_${name}`, rest, () => 0),
  of: 'host',
  labels: ['uid', ...by],
  write: (out, facts) => {
    for (const one of facts.tmem?.users ?? []) write(out, label('uid', String(one.uid)), one);
  },
});
const user = (name: string, rest: Rest, of: (user: TmemUserReport) => number): Family =>
  ofUsers(name, rest, [], (out, labels, one) => out.add(labels, of(one)));
/** With one more label. */
const userBy = (name: string, rest: Rest, by: string, values: Values<TmemUserReport>): Family =>
  ofUsers(name, rest, [by], samplesBy(by, values));

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
