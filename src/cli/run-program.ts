/**
 * `frontswap run`: a program, and the Node programs that it starts, with their WebAssembly memories paged. It only sets
 * the environment that `frontswap/register` reads, checks what it is given, and becomes the program.
 */
import { resolve } from 'node:path';
import { SwapError } from '../base/errors.ts';
import { formatSize, parseSize } from '../base/size.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { parseLimit } from '../host/limits.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import { SET_PAGES_MIN } from '../pager/resident-set.ts';
import { type Arguments, type Command, flag, text } from './command.ts';
import type { World } from './world.ts';

const residentBytesMin = SET_PAGES_MIN * PAGE_BYTES;
/** mkswap(8) takes no fewer than ten pages. */
const fileBytesMin = 10 * PAGE_BYTES;

const missing = (key: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${key}: ${why}`, { key });

function tooSmall(key: string, given: string, leastBytes: number): SwapError {
  const why = `'${given}' is too small: at least ${formatSize(leastBytes)}`;
  return new SwapError('ERR_ARG_VALUE', `${key}: ${why}`, { key, value: given });
}

/** From --resident, else from the environment, so that a nested run keeps the budget of the outer one. */
function residentBytes(args: Arguments, env: World['env']): number {
  const given = text(args, 'resident');
  const from = given === null ? 'FRONTSWAP_RESIDENT' : '--resident';
  const size = given ?? env['FRONTSWAP_RESIDENT'];
  if (size === undefined)
    throw missing('--resident', 'say how much memory the program may keep resident, as 256M');
  const bytes = size.trim().endsWith('%')
    ? parseLimit(from, size, usableMemory())
    : parseSize(from, size);
  if (bytes < residentBytesMin) throw tooSmall(from, size, residentBytesMin);
  return bytes;
}

/** PATH:SIZE with an absolute path: the program may start others in other folders. */
function swapFile(given: string): string {
  const colon = given.lastIndexOf(':');
  const path = given.slice(0, Math.max(0, colon));
  if (path === '')
    throw new SwapError(
      'ERR_ARG_VALUE',
      `--file: '${given}' is not of the form PATH:SIZE, as /var/tmp/app.swap:4G`,
      { key: '--file', value: given },
    );
  const bytes = parseSize('--file', given.slice(colon + 1));
  if (bytes < fileBytesMin) throw tooSmall('--file', given.slice(colon + 1), fileBytesMin);
  return `${resolve(path)}:${bytes - (bytes % PAGE_BYTES)}`;
}

/** The file that NODE_OPTIONS imports, percent-encoded: a blank in its path would end the word. */
const registerUrl: string = new URL('../memory/register.js', import.meta.url).href;

/** NODE_OPTIONS with the import in it, once. */
function nodeOptions(before = ''): string {
  const own = `--import=${registerUrl}`;
  if (before.split(' ').includes(own)) return before;
  return before === '' ? own : `${before} ${own}`;
}

/** What `frontswap/register` finds in the environment. */
function variablesFor(args: Arguments, env: World['env']): Record<string, string> {
  const limit = text(args, 'limit');
  const file = text(args, 'file');
  return {
    FRONTSWAP_RESIDENT: String(residentBytes(args, env)),
    ...(limit === null
      ? {}
      : { FRONTSWAP_LIMIT: String(parseLimit('--limit', limit, usableMemory())) }),
    ...(file === null ? {} : { FRONTSWAP_FILE: swapFile(file) }),
    ...(flag(args, 'same-core') ? { FRONTSWAP_SAME_CORE: '1' } : {}),
    ...(flag(args, 'shared') ? { FRONTSWAP_SHARED: '1' } : {}),
    ...(flag(args, 'stats') ? { FRONTSWAP_STATS: '1' } : {}),
    NODE_OPTIONS: nodeOptions(env['NODE_OPTIONS']),
  };
}

export const runProgramCommand: Command = {
  name: 'run',
  group: 'memory',
  summary: 'run a Node program with its WebAssembly memory paged',
  usage: 'run --resident SIZE [OPTIONS] [--] PROGRAM [ARGUMENTS...]',
  examples: [
    {
      line: 'frontswap run --resident 256M -- node app.js --port 8080',
      what: 'at most 256M of the WebAssembly memory of app.js resident, the rest compressed',
    },
    {
      line: 'frontswap run --resident 25% --file /var/tmp/app.swap:8G npm start',
      what: 'a quarter of the memory resident; what compressed RAM refuses goes to a file',
    },
    {
      line: 'frontswap run --resident 256M --stats node app.js',
      what: 'with a summary at the end, on stderr',
    },
  ],
  options: [
    {
      name: 'resident',
      value: 'SIZE',
      help: 'memory that the WebAssembly memories of a process may keep resident together, at least 128K; 25% is a share of the memory (default $FRONTSWAP_RESIDENT)',
    },
    {
      name: 'limit',
      value: 'SIZE',
      help: 'ceiling of compressed pages, tables included; 0 for none (default half of the memory)',
    },
    {
      name: 'file',
      value: 'PATH:SIZE',
      help: 'a swap file for what compressed RAM refuses, and its size',
    },
    {
      name: 'same-core',
      help: 'keep the main thread and the fault thread on one processor: faster for random access, slower for sequential access',
    },
    {
      name: 'shared',
      help: 'page shared memories too; a thread that waits in one (Atomics.wait) may then hang',
    },
    { name: 'stats', help: 'print what was paged on stderr when a process exits' },
  ],
  positionals: 'program',
  positionalsMax: Number.POSITIVE_INFINITY,
  notes: [
    'Options of frontswap stand before PROGRAM; everything from PROGRAM on belongs to it. Node programs that it starts are paged as well, each with a budget of its own. A program that is not a Node program runs as it is.',
    'It sets NODE_OPTIONS and the FRONTSWAP_ variables that frontswap/register reads, and then replaces itself by PROGRAM (exec): signals, the terminal and the exit status are those of PROGRAM.',
    "Exit status: PROGRAM's; 128+n when signal n ended it, as the shell reports it; 127 PROGRAM is not found, 126 it cannot be executed, 2 wrong usage.",
  ],
  async run(args, world) {
    if (args.positionals.length === 0)
      throw missing('PROGRAM', 'say what to run, as: frontswap run --resident 256M -- node app.js');
    const variables = variablesFor(args, world.env);
    return world.runProgram(args.positionals, variables);
  },
};
