/** `frontswap doctor`: reports whether this machine can page memory, and how to install missing features. */
import type { Check, Verdict } from '../memory/diagnosis.ts';
import { type Command, Exit, flag } from './command.ts';
import { styleFor, wantsColor } from './style.ts';

const words: Readonly<Record<Verdict, string>> = {
  good: 'ok',
  limited: 'limited',
  missing: 'missing',
};

const ends: Readonly<Record<Verdict, string>> = {
  good: 'Memory can be paged transparently here, without restriction.',
  limited: 'Memory can be paged transparently here, within the limits above.',
  missing: 'Memory cannot be paged transparently here; PagedArray works.',
};

const lineOf = ({ name, verdict, found, fix }: Check, paint: (text: string) => string): string =>
  [
    `${words[verdict].padEnd(8)} ${name.padEnd(13)} ${found}`,
    ...(fix === '' ? [] : [`${' '.repeat(23)}${paint('fix:')} ${fix}`]),
  ].join('\n');

export const doctorCommand: Command = {
  name: 'doctor',
  group: 'general',
  summary: 'check whether this machine can page memory, with fixes',
  usage: 'doctor [--json]',
  examples: [
    { line: 'frontswap doctor', what: 'one line per check, and a fix if needed' },
    { line: 'frontswap doctor --json | jq -e \'.verdict != "missing"\'', what: 'for scripts' },
  ],
  options: [],
  positionals: 'none',
  positionalsMax: 0,
  notes: [
    'Checks: platform and page size, Node and the largest region, the foreign function interface, the kernel, userfaultfd and permission to use it, system calls into evicted pages, features, limits.',
    'Exit status: 0 memory can be paged transparently (also with limits), 1 it cannot, 2 wrong usage.',
  ],
  async run(args, world) {
    const { diagnose, gatherFacts, verdictOf } = await import('../memory/diagnosis.ts');
    const checks = diagnose(gatherFacts());
    const verdict = verdictOf(checks);
    if (flag(args, 'json')) {
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, verdict, checks }, null, 2)}\n`);
    } else {
      const style = styleFor(wantsColor(world.stdout, world.env, flag(args, 'no-color')));
      const lines = checks.map((check) => lineOf(check, style.heading));
      world.stdout.write(`${lines.join('\n')}\n${ends[verdict]}\n`);
    }
    return verdict === 'missing' ? Exit.failed : Exit.ok;
  },
};
