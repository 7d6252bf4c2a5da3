/** `frontswap help [COMMAND]`, and `--help` of every command. Examples come first. */
import {
  type Arguments,
  type Command,
  type CommandTable,
  commonOptions,
  Exit,
  flag,
  type Group,
  type OptionSpec,
} from './command.ts';
import { valueText } from './option-values.ts';
import { type Style, styleFor, wantsColor } from './style.ts';
import type { World } from './world.ts';

const width = 80;

/**
 * Breaks text at spaces into lines of at most `width` characters. The first line starts with `first`, the others with
 * `indent`.
 */
function wrap(text: string, indent: string, first = indent): string {
  const lines: string[] = [];
  let line = '';
  const push = (): void => {
    lines.push((lines.length === 0 ? first : indent) + line);
  };
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > width) {
      push();
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  push();
  return lines.join('\n');
}

function optionText(option: OptionSpec): string {
  const { name, short, help } = option;
  const shortForm = short === undefined ? '    ' : `-${short}, `;
  const head = `  ${shortForm}--${name}${valueText(option)}`;
  return `${head}\n${wrap(help, ' '.repeat(10))}\n`;
}

/** One row per word; long meanings are wrapped. */
function rowsText(rows: readonly (readonly [word: string, meaning: string])[]): string {
  const wordWidth = Math.max(...rows.map(([word]) => word.length));
  const indent = ' '.repeat(wordWidth + 4);
  return rows
    .map(([word, meaning]) => `${wrap(meaning, indent, `  ${word.padEnd(wordWidth)}  `)}\n`)
    .join('');
}

const exampleText = (examples: Command['examples']): string =>
  examples.map(({ line, what }) => `  # ${what}\n  ${line}\n`).join('\n');

function helpOf(command: Command, style: Style): string {
  const own = command.options.map(optionText).join('');
  const { table } = command;
  return [
    `frontswap ${command.name}: ${command.summary}\n`,
    `${style.heading('Examples')}\n${exampleText(command.examples)}`,
    `${style.heading('Usage')}\n  frontswap ${command.usage}\n`,
    own === '' ? '' : `${style.heading('Options')}\n${own}`,
    `${style.heading('Common options')}\n${commonOptions.map(optionText).join('')}`,
    table === undefined ? '' : `${style.heading(table.title)}\n${rowsText(table.rows)}`,
    ...command.notes.map((note) => `${wrap(note, '')}\n`),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

/** The parts of frontswap, in the order of help. */
export const groups: readonly { readonly group: Group; readonly title: string }[] = [
  { group: 'memory', title: 'Memory: run a program in less memory than it uses' },
  { group: 'disk', title: 'Disk: serve swap disks in compressed RAM to virtual machines' },
  { group: 'tmem', title: 'Tmem: lend memory to other processes as pools of pages' },
  { group: 'general', title: 'General' },
];

/** Entry points of the package; docs/reference/api has a page for each. */
export const library: readonly (readonly [name: string, meaning: string])[] = [
  ['frontswap', 'openSwap(): buffers, arrays and WebAssembly memories'],
  ['frontswap/store', 'compressed pages with a hard byte limit'],
  ['frontswap/async', 'batches of pages, in this thread or a worker'],
  ['frontswap/block', 'bios, a request queue, filters, the compressed RAM disk'],
  ['frontswap/swap', 'the swap core and the frontswap hook'],
  ['frontswap/tmem', 'transcendent memory: pools of pages'],
  ['frontswap/cleancache', 'the hook for clean file pages'],
  ['frontswap/remote', "pages in another machine's RAM"],
  ['frontswap/file-cache', 'a cache of files in compressed RAM'],
];

export const overviewExamples: Command['examples'] = [
  {
    line: 'frontswap run --resident 256M -- node app.js',
    what: 'run a program with at most 256M of its WebAssembly memory resident',
  },
  {
    line: 'frontswap host',
    what: 'serve a 1G swap disk on a private Unix socket and on 127.0.0.1:10809',
  },
  { line: 'frontswap list', what: 'show the contents and memory use of the disks' },
  {
    line: 'frontswap attach --format qemu',
    what: 'print the arguments for QEMU and the commands for the guest',
  },
  {
    line: 'frontswap doctor',
    what: 'check whether this machine can page memory, and how to fix what is missing',
  },
];

/** All commands by group, and the entry points of the library. */
export async function overview(table: CommandTable, color: boolean): Promise<string> {
  const style = styleFor(color);
  const commands = await Promise.all(table.names.map((name) => table.load(name)));
  const words = [...commands.map(({ name }) => name), ...library.map(([name]) => name)];
  const wordWidth = Math.max(...words.map((word) => word.length));
  const rows = (of: readonly (readonly [string, string])[]): string =>
    of.map(([word, meaning]) => `  ${word.padEnd(wordWidth)}  ${meaning}\n`).join('');
  const sections = groups.map(({ group, title }) => {
    const own = commands.filter((command) => command.group === group);
    return `${style.heading(title)}\n${rows(own.map(({ name, summary }) => [name, summary]))}`;
  });
  sections.splice(-1, 0, `${style.heading('Library: import from')}\n${rows(library)}`);
  return [
    'frontswap: swap to compressed RAM, for programs and for virtual machines\n',
    `${style.heading('Examples')}\n${exampleText(overviewExamples)}`,
    `${style.heading('Usage')}\n  frontswap COMMAND [OPTIONS]\n`,
    ...sections,
    "Run 'frontswap help COMMAND' for details; -V prints the version.\n",
  ].join('\n');
}

const colorIn = (args: Arguments, world: World): boolean =>
  wantsColor(world.stdout, world.env, flag(args, 'no-color'));

/** Prints a command's help to stdout. */
export function printHelp(command: Command, args: Arguments, world: World): void {
  world.stdout.write(helpOf(command, styleFor(colorIn(args, world))));
}

export const helpCommand: Command = {
  name: 'help',
  group: 'general',
  summary: 'print help on a command',
  usage: 'help [COMMAND]',
  examples: [{ line: 'frontswap help host', what: 'everything about the host command' }],
  options: [],
  positionals: 'command',
  positionalsMax: 1,
  notes: [],
  async run(args, world, table) {
    const name = args.positionals[0];
    if (name === undefined) world.stdout.write(await overview(table, colorIn(args, world)));
    else printHelp(await table.load(name), args, world);
    return Exit.ok;
  },
};
