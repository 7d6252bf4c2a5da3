/**
 * Manual pages in section 1, generated from the table of commands: frontswap.1, and one per command. The build writes them to
 * dist/man (scripts/build.mjs).
 *
 * Source: man(7) of groff, "man-pages(7)" for the order of sections.
 */
import { type Command, type CommandTable, commonOptions, type OptionSpec } from './command.ts';
import { groups, library, overviewExamples } from './help.ts';
import { spellings, valueText } from './option-values.ts';

/** Escapes text for roff: no escapes, no requests, and minus signs that can be pasted. */
const roff = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha')
    .replaceAll('`', '\\(ga')
    .replaceAll("'", '\\(aq')
    .replace(/^\./gm, '\\&.');

const bold = (text: string): string => `\\fB${roff(text)}\\fR`;
const tagged = (tag: string, text: string): string => `.TP\n${tag}\n${roff(text)}\n`;
const section = (title: string, body: string): string =>
  body === '' ? '' : `.SH ${title.toUpperCase()}\n${body}`;
const paragraphs = (texts: readonly string[]): string =>
  texts.map((text) => `.PP\n${roff(text)}\n`).join('');

function optionText(option: OptionSpec): string {
  const words = spellings(option).map(bold).join(', ');
  const text = option.value === undefined ? '' : roff(valueText(option));
  const value = text.replace(/[^ =[\]]+/, (word) => `\\fI${word}\\fR`);
  return tagged(`${words}${value}`, option.help);
}

const exampleText = (examples: Command['examples']): string =>
  examples
    .map(({ line, what }) => `.PP\n${roff(what)}:\n.PP\n.in +4n\n.nf\n${roff(line)}\n.fi\n.in\n`)
    .join('');

const head = (name: string, version: string): string =>
  `.TH ${roff(name.toUpperCase())} 1 "" "frontswap ${roff(version)}" "frontswap manual"\n.ad l\n.nh\n`;

const exitMark = 'Exit status: ';

function commandPage(command: Command, version: string): string {
  const name = `frontswap-${command.name}`;
  const { table, notes, usage } = command;
  const [verb = '', ...rest] = usage.split(' ');
  const exits = notes.filter((note) => note.startsWith(exitMark));
  return [
    head(name, version),
    section('name', `${roff(name)} \\- ${roff(command.summary)}\n`),
    section('synopsis', `${bold(`frontswap ${verb}`)} ${roff(rest.join(' '))}\n`),
    section('description', paragraphs(notes.filter((note) => !exits.includes(note)))),
    section('options', command.options.map(optionText).join('')),
    section('common options', commonOptions.map(optionText).join('')),
    table === undefined
      ? ''
      : section(table.title, table.rows.map(([word, text]) => tagged(bold(word), text)).join('')),
    section('exit status', paragraphs(exits.map((note) => note.slice(exitMark.length)))),
    section('examples', exampleText(command.examples)),
    section('see also', `${bold('frontswap')}(1)\n`),
  ].join('');
}

const environment: readonly (readonly [name: string, meaning: string])[] = [
  ['FRONTSWAP_CONTROL', 'the control socket of a host, for the commands about its disks'],
  ['FRONTSWAP_RESIDENT', 'resident budget, for frontswap/register'],
  ['FRONTSWAP_LIMIT', 'limit of compressed pages, for frontswap/register'],
  ['FRONTSWAP_FILE', 'a swap file and its size, for frontswap/register'],
  ['FRONTSWAP_BUFFERS', 'also page new ArrayBuffers of at least this size'],
  ['FRONTSWAP_DISCARD', '1: add WebAssembly.Memory.prototype.discard()'],
  ['FRONTSWAP_SAME_CORE', '1: run the main thread and the fault thread on one processor'],
  ['FRONTSWAP_FAULTS', 'who serves page faults: thread (default), signal, memfd or javascript'],
  [
    'FRONTSWAP_SHARED',
    '0: do not page shared memories; 1: page them, no matter who serves page faults',
  ],
  ['FRONTSWAP_WORKERS', '1: also page the memories of worker threads'],
  ['FRONTSWAP_STRICT', '1: end a process if its memory cannot be paged'],
  [
    'FRONTSWAP_STATS',
    '1: print paging statistics when a process exits; a duration such as 1s: also per interval',
  ],
  ['FRONTSWAP_REPORT', 'write a report of the paging at exit: FILE.html or FILE.json'],
  ['XDG_RUNTIME_DIR', 'folder for the sockets of users other than root'],
  ['NO_COLOR, FORCE_COLOR', 'disable colours; enable colours in a pipe, too'],
];

function mainPage(commands: readonly Command[], version: string): string {
  const commandText = groups.map(({ group, title }) => {
    const own = commands.filter((command) => command.group === group);
    return `.SS ${roff(title)}\n${own.map(({ name, summary }) => tagged(bold(name), summary)).join('')}`;
  });
  return [
    head('frontswap', version),
    section('name', 'frontswap \\- swap to compressed RAM, for programs and virtual machines\n'),
    section('synopsis', `${bold('frontswap')} ${roff('COMMAND [OPTIONS]')}\n`),
    section('commands', commandText.join('')),
    section('library', library.map(([name, meaning]) => tagged(bold(name), meaning)).join('')),
    section('common options', commonOptions.map(optionText).join('')),
    section(
      'exit status',
      paragraphs([
        '0 done, 1 failed, 2 wrong usage, 3 no host answers, 128+n ended by signal n; for run and host --run: that of the program.',
      ]),
    ),
    section(
      'environment',
      environment.map(([name, meaning]) => tagged(bold(name), meaning)).join(''),
    ),
    section('examples', exampleText(overviewExamples)),
    section(
      'see also',
      `${commands.map(({ name }) => `${bold(`frontswap-${name}`)}(1)`).join(',\n')}\n`,
    ),
  ].join('');
}

/** The manual pages by file name. */
export async function manPages(
  table: CommandTable,
  version: string,
): Promise<ReadonlyMap<string, string>> {
  const commands = await Promise.all(table.names.map((name) => table.load(name)));
  return new Map([
    ['frontswap.1', mainPage(commands, version)],
    ...commands.map((it) => [`frontswap-${it.name}.1`, commandPage(it, version)] as const),
  ]);
}
