/** `frontswap help [COMMAND]`, and `--help` of every command: examples first. */
import {
  type Arguments,
  type Command,
  type CommandTable,
  commonOptions,
  Exit,
  flag,
  type OptionSpec,
} from './command.ts';
import { type Style, styleFor, wantsColor } from './style.ts';
import type { World } from './world.ts';

const width = 80;

/** Breaks at blanks so that no line is longer than the width, every line indented. */
function wrap(text: string, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(indent + line);
  return lines.join('\n');
}

function optionText({ name, short, value, help }: OptionSpec): string {
  const shortForm = short === undefined ? '    ' : `-${short}, `;
  const head = `  ${shortForm}--${name}${value === undefined ? '' : ` ${value}`}`;
  return `${head}\n${wrap(help, ' '.repeat(10))}\n`;
}

const exampleText = (examples: Command['examples']): string =>
  examples.map(({ line, what }) => `  # ${what}\n  ${line}\n`).join('\n');

function helpOf(command: Command, style: Style): string {
  const own = command.options.map(optionText).join('');
  return [
    `frontswap ${command.name}: ${command.summary}\n`,
    `${style.heading('Examples')}\n${exampleText(command.examples)}`,
    `${style.heading('Usage')}\n  frontswap ${command.usage}\n`,
    own === '' ? '' : `${style.heading('Options')}\n${own}`,
    `${style.heading('Common options')}\n${commonOptions.map(optionText).join('')}`,
    ...command.notes.map((note) => `${wrap(note, '')}\n`),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

/** The list of commands. */
export async function overview(table: CommandTable, color: boolean): Promise<string> {
  const style = styleFor(color);
  const commands = await Promise.all(table.names.map((name) => table.load(name)));
  const rows = commands.map(({ name, summary }) => `  ${name.padEnd(9)} ${summary}\n`).join('');
  return [
    'frontswap: swap to RAM, compressed, given back the moment a slot is freed\n',
    `${style.heading('Examples')}
  # a 1G swap disk for guests, on a private Unix socket and on 127.0.0.1:10809
  frontswap host

  # what it holds, and what that costs
  frontswap list

  # what to give to QEMU, and what to type in the guest
  frontswap attach --format qemu
`,
    `${style.heading('Usage')}\n  frontswap COMMAND [OPTIONS]\n`,
    `${style.heading('Commands')}\n${rows}`,
    "'frontswap help COMMAND' tells more.\n",
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
  summary: 'print help on a command',
  usage: 'help [COMMAND]',
  examples: [{ line: 'frontswap help host', what: 'everything about the host command' }],
  options: [],
  positionalsMax: 1,
  notes: [],
  async run(args, world, table) {
    const name = args.positionals[0];
    if (name === undefined) world.stdout.write(await overview(table, colorIn(args, world)));
    else printHelp(await table.load(name), args, world);
    return Exit.ok;
  },
};
