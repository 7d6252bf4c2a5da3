/**
 * Every interleaving of the page states (state-model.ts): two threads, eviction, drops, discard, pin, reports. No
 * acknowledged write is lost, no read returns old data, no slot is leaked or used after it was freed; and without any one
 * of the rules one of these is broken, so each is needed and the model can fail.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explore } from './state-model.ts';
import type { Domain, Rule } from './state-world.ts';

const starts = ['absent', 'dirty', 'clean', 'stored'] as const;
const calls: readonly Domain['calls'][] = [
  ['fetch', 'drain', 'evict'],
  ['evict', 'drain', 'evict'],
  ['evict', 'free', 'evict'],
  ['drain', 'discard', 'evict'],
  ['evict', 'drain', 'discard'],
  ['pin', 'drain', 'evict'],
  ['drain', 'free', 'discard'],
  ['evict', 'drain', 'pin'],
];
/** Every read of native code fails; only the first; only the second. */
const failures = [0xff, 1, 2];
const domains: readonly Domain[] = starts.flatMap((start) =>
  calls.flatMap((list) => [
    ...failures.map((mask) => ({
      ...{ start, calls: list, threads: ['w', 'r'], drops: 1 },
      ...{ isFile: true, failures: mask },
    })),
    { start, calls: list, threads: ['rw', 'wr'], drops: 1 },
    { start, calls: list, threads: ['rw', 'wr'], drops: 1, isFile: true },
  ]),
);

for (const start of starts)
  test(`every interleaving keeps every rule, from ${start}`, { timeout: 120_000 }, () => {
    let worlds = 0;
    for (const domain of domains) if (domain.start === start) worlds += explore(domain);
    assert.ok(worlds > 10_000, `${worlds} worlds`);
  });

const rules: readonly Rule[] = [
  'protect before the copy',
  'commit checks for a write',
  'commit decides by what its swap found',
  'entry before stored',
  'copies are freed by compare-and-swap',
  'reads install protected pages',
  'drop holds a claim',
  'writes are reported',
  'protection is lifted under the claim',
  'pin makes the page dirty',
  'discard frees the slot last',
  'the engine installs under a claim',
  'a file is written before the page is stored',
  'a read of a file holds its claim',
];

for (const rule of rules)
  test(`without the rule "${rule}" the model finds a violation`, { timeout: 120_000 }, () => {
    assert.throws(
      () => {
        for (const domain of domains) explore(domain, rule);
      },
      { code: 'ERR_ASSERTION', message: /slot|read|memory|bytes|state/ },
    );
  });
