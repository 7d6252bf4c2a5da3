/**
 * `frontswap run`: runs a program, and the Node programs that it starts, with their WebAssembly memories paged. It checks the
 * options, sets the environment that `frontswap/register` reads, and replaces itself with the program.
 */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseDuration } from '../base/duration.ts';
import { SwapError } from '../base/errors.ts';
import { formatSize, parseSize } from '../base/size.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { parseLimit } from '../host/limits.ts';
import { BUFFER_BYTES_MIN } from '../memory/array-buffer.ts';
import { LINE_MS_MIN, parseReport } from '../memory/watch-settings.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import { SET_PAGES_MIN } from '../pager/resident-set.ts';
import { type Arguments, type Command, flag, text } from './command.ts';
import type { World } from './world.ts';

const RESIDENT_BYTES_MIN = SET_PAGES_MIN * PAGE_BYTES;
/** mkswap(8) requires 10 pages. */
const FILE_BYTES_MIN = 10 * PAGE_BYTES;

const missing = (key: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${key}: ${why}`, { key });

function tooSmall(key: string, given: string, leastBytes: number): SwapError {
  const why = `'${given}' is too small: at least ${formatSize(leastBytes)}`;
  return new SwapError('ERR_ARG_VALUE', `${key}: ${why}`, { key, value: given });
}

/** The value of --resident, or else of the environment: a nested run inherits the budget. */
function residentBytes(args: Arguments, env: World['env']): number {
  const given = text(args, 'resident');
  const from = given === null ? 'FRONTSWAP_RESIDENT' : '--resident';
  const size = given ?? env['FRONTSWAP_RESIDENT'];
  if (size === undefined)
    throw missing(
      '--resident',
      'specify how much memory the program may keep resident, such as 256M',
    );
  const bytes = size.trim().endsWith('%')
    ? parseLimit(from, size, usableMemory())
    : parseSize(from, size);
  if (bytes < RESIDENT_BYTES_MIN) throw tooSmall(from, size, RESIDENT_BYTES_MIN);
  return bytes;
}

/** PATH:SIZE with an absolute path: the program may start others in other working directories. */
function swapFile(given: string): string {
  const colon = given.lastIndexOf(':');
  const path = given.slice(0, Math.max(0, colon));
  if (path === '')
    throw new SwapError(
      'ERR_ARG_VALUE',
      `--file: '${given}' is not of the form PATH:SIZE, such as /var/tmp/app.swap:4G`,
      { key: '--file', value: given },
    );
  const bytes = parseSize('--file', given.slice(colon + 1));
  if (bytes < FILE_BYTES_MIN) throw tooSmall('--file', given.slice(colon + 1), FILE_BYTES_MIN);
  return `${resolve(path)}:${bytes - (bytes % PAGE_BYTES)}`;
}

function bufferBytes(given: string): number {
  const bytes = parseSize('--buffers', given);
  if (bytes < BUFFER_BYTES_MIN) throw tooSmall('--buffers', given, BUFFER_BYTES_MIN);
  return bytes;
}

/** The URL that NODE_OPTIONS imports, percent-encoded: a space in the path would end the word. */
const registerUrl: string = new URL('../memory/register.js', import.meta.url).href;

const own = `--import=${registerUrl}`;

/** Returns NODE_OPTIONS without the import. */
export const plainNodeOptions = (before = ''): string =>
  before
    .split(' ')
    .filter((word) => word !== own)
    .join(' ');

/** Adds the import to NODE_OPTIONS, unless it is there. */
export function nodeOptions(before = ''): string {
  if (before.split(' ').includes(own)) return before;
  return before === '' ? own : `${before} ${own}`;
}

function statsVariables(args: Arguments): Record<string, string> {
  const interval = text(args, 'stats');
  if (interval === null) return flag(args, 'stats') ? { FRONTSWAP_STATS: '1' } : {};
  parseDuration('--stats', interval, LINE_MS_MIN);
  return { FRONTSWAP_STATS: interval };
}

/** The process id does not change when the program replaces this process, so the program itself writes FILE. */
function reportVariables(args: Arguments): Record<string, string> {
  const file = text(args, 'report');
  if (file === null) return {};
  const path = parseReport('--report', file);
  if (!existsSync(dirname(path)))
    throw new SwapError('ERR_ARG_VALUE', `--report: the folder ${dirname(path)} does not exist`, {
      key: '--report',
      value: file,
    });
  return { FRONTSWAP_REPORT: path, FRONTSWAP_REPORT_PID: String(process.pid) };
}

/** The environment variables that `frontswap/register` reads. */
function variablesFor(args: Arguments, env: World['env']): Record<string, string> {
  const limit = text(args, 'limit');
  const file = text(args, 'file');
  const buffers = text(args, 'buffers');
  return {
    FRONTSWAP_RESIDENT: String(residentBytes(args, env)),
    ...(limit === null
      ? {}
      : { FRONTSWAP_LIMIT: String(parseLimit('--limit', limit, usableMemory())) }),
    ...(file === null ? {} : { FRONTSWAP_FILE: swapFile(file) }),
    ...(buffers === null ? {} : { FRONTSWAP_BUFFERS: String(bufferBytes(buffers)) }),
    ...(flag(args, 'same-core') ? { FRONTSWAP_SAME_CORE: '1' } : {}),
    ...(flag(args, 'shared') ? { FRONTSWAP_SHARED: '1' } : {}),
    ...(flag(args, 'workers') ? { FRONTSWAP_WORKERS: '1' } : {}),
    ...(flag(args, 'strict') ? { FRONTSWAP_STRICT: '1' } : {}),
    ...statsVariables(args),
    ...reportVariables(args),
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
      what: 'a quarter of the memory resident; pages that do not fit in compressed RAM go to a file',
    },
    {
      line: 'frontswap run --resident 256M --buffers 16M node app.js',
      what: 'large typed arrays and Buffers paged, too',
    },
    {
      line: 'frontswap run --resident 256M --stats=1s node app.js',
      what: 'with a line of statistics each second and a summary at the end, on stderr',
    },
    {
      line: 'frontswap run --resident 256M --report paging.html node app.js',
      what: 'with plots of memory, faults and stalls in a page that a browser shows',
    },
  ],
  options: [
    {
      name: 'resident',
      value: 'SIZE',
      help: 'resident budget of all WebAssembly memories of a process together, at least 128K; 25% is a share of the memory (default $FRONTSWAP_RESIDENT)',
    },
    {
      name: 'limit',
      value: 'SIZE',
      help: 'limit of compressed pages, tables included; 0 for none (default half of the memory)',
    },
    {
      name: 'file',
      value: 'PATH:SIZE',
      help: 'a swap file for pages that do not fit in compressed RAM, and its size',
    },
    {
      name: 'buffers',
      value: 'SIZE',
      help: 'also page new ArrayBuffers and typed arrays of at least SIZE, such as 16M; at least 1M',
    },
    {
      name: 'same-core',
      help: 'run the main thread and the fault thread on one processor: faster random access, slower sequential access',
    },
    {
      name: 'shared',
      help: 'page shared memories even where JavaScript serves page faults; a thread that waits in one (Atomics.wait) may then hang',
    },
    {
      name: 'workers',
      help: 'also page the memories of worker threads; if a worker is stopped while it creates its first memory, the process may abort',
    },
    {
      name: 'strict',
      help: 'end a process with status 1 if its memory cannot be paged, instead of running it unpaged',
    },
    {
      name: 'stats',
      value: 'INTERVAL',
      isValueOptional: true,
      help: 'print paging statistics on stderr when a process exits; with an interval such as 1s, at least 100ms, also while it runs',
    },
    {
      name: 'report',
      value: 'FILE',
      help: 'write a paging report when a process exits: FILE.html is a page with plots, FILE.json the data',
    },
  ],
  positionals: 'program',
  positionalsMax: Number.POSITIVE_INFINITY,
  notes: [
    'Options of frontswap precede PROGRAM; all words from PROGRAM on belong to it. Node programs that PROGRAM starts are paged, too, each with its own budget. Programs other than Node run unchanged.',
    'The command sets NODE_OPTIONS and the FRONTSWAP_ variables that frontswap/register reads, and then replaces itself with PROGRAM (exec): signals, the terminal and the exit status are those of PROGRAM.',
    'Each process writes its own report: PROGRAM writes FILE; a Node program that it starts adds its process id before the extension. A process that a signal ends without running its exit handlers writes none.',
    "Exit status: PROGRAM's; 128+n when signal n ended it, as the shell reports it; 127 PROGRAM not found, 126 PROGRAM not executable, 2 wrong usage.",
  ],
  async run(args, world) {
    if (args.positionals.length === 0)
      throw missing(
        'PROGRAM',
        'specify what to run, such as: frontswap run --resident 256M -- node app.js',
      );
    const variables = variablesFor(args, world.env);
    return world.runProgram(args.positionals, variables);
  },
};
