/** The completion script for fish. */
import { type Command, commonOptions, type OptionSpec } from './command.ts';
import { brief, tableWords, valueKind } from './option-values.ts';

const quoted = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`;

function optionLine(option: OptionSpec, condition: string, command: Command | null): string {
  const { name, short, help } = option;
  const kind = valueKind(option);
  const columns = command === null ? [] : tableWords(command);
  const value = {
    none: '',
    any: ' -x',
    file: ' -r -F',
    columns: ` -x -a ${quoted(`(__fish_append , ${columns.join(' ')})`)}`,
    words: ` -x -a ${quoted(kind.kind === 'words' ? kind.words.join(' ') : '')}`,
  };
  const letter = short === undefined ? '' : ` -s ${short}`;
  return `complete -c frontswap${condition}${letter} -l ${name}${value[kind.kind]} -d ${quoted(brief(help))}\n`;
}

function positionalLine({ positionals }: Command, condition: string, names: string): string {
  if (positionals === 'none') return '';
  if (positionals === 'file') return `complete -c frontswap${condition} -F\n`;
  const words = {
    disk: '(__frontswap_disks)',
    command: names,
    shell: 'bash zsh fish',
    program: '(__fish_complete_command)',
  };
  const files = positionals === 'program' ? ' -F' : '';
  return `complete -c frontswap${condition}${files} -a ${quoted(words[positionals])}\n`;
}

export function fishScript(commands: readonly Command[]): string {
  const names = commands.map(({ name }) => name).join(' ');
  const sections = commands.map((command) => {
    const { name, summary, options } = command;
    const condition = ` -n ${quoted(`__fish_seen_subcommand_from ${name}`)}`;
    return [
      `\ncomplete -c frontswap -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}\n`,
      ...options.map((option) => optionLine(option, condition, command)),
      positionalLine(command, condition, names),
    ].join('');
  });
  return `# fish completion for frontswap: frontswap completion fish > ~/.config/fish/completions/frontswap.fish

function __frontswap_disks
    frontswap list --noheadings --raw --output NAME 2> /dev/null
end

complete -c frontswap -f
${commonOptions.map((option) => optionLine(option, '', null)).join('')}${sections.join('')}`;
}
