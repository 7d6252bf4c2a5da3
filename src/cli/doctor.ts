/**
 * `frontswap doctor`: reports whether this machine can page memory, and how to install missing features. With --run it
 * measures a program (doctor-run.ts).
 */

import type { Check, Verdict } from '../memory/diagnosis.ts';
import { checkPositionals } from './arguments.ts';
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
  summary: 'check whether memory can be paged here; suggest a budget',
  usage: 'doctor [--json] [--run PROGRAM [ARGUMENTS...]]',
  examples: [
    { line: 'frontswap doctor', what: 'one line per check, and a fix if needed' },
    { line: 'frontswap doctor --json | jq -e \'.verdict != "missing"\'', what: 'for scripts' },
    {
      line: 'frontswap doctor --run app.js --rows 1000',
      what: 'the working set of a program, measured, and a budget for it',
    },
  ],
  options: [
    {
      name: 'run',
      help: 'measure PROGRAM, a script for Node or a command line: run it without paging, with all its memory resident, and with up to six smaller budgets',
    },
  ],
  positionals: 'program',
  positionalsMax: Number.POSITIVE_INFINITY,
  notes: [
    'Checks: platform and page size, Node and the largest region, the foreign function interface, the kernel, userfaultfd and permission to use it, system calls into evicted pages, features, who serves faults, limits.',
    'With --run: prints the time of each run, the share of that time spent stalled in faults, the pages read back and the peak RSS; then the working set, a budget for --resident and what it saves. PROGRAM runs several times, with the same effects each time, with empty standard input; it must end by itself, without input. The output of the first run goes to stderr, and that of the others is dropped. A run is stopped after four times the time of the first run plus one second. Progress is shown on a terminal only.',
    'Exit status: 0 memory can be paged transparently (also with limits), 1 it cannot, 2 wrong usage. With --run: 0 measured, 1 PROGRAM failed or has no memory to page, 126 PROGRAM not executable, 127 PROGRAM not found.',
  ],
  async run(args, world) {
    if (flag(args, 'run')) {
      const { suggestBudget } = await import('./doctor-run.ts');
      return suggestBudget(args, world);
    }
    checkPositionals({ ...doctorCommand, positionalsMax: 0 }, args);
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
