/** The completion script for zsh: a function for fpath (#compdef), which can also be evaluated. */
import { type Command, commonOptions, type OptionSpec } from './command.ts';
import { brief, spellings, tableWords, valueKind } from './option-values.ts';

/** Text between single quotes. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Escapes colons and brackets, which separate the parts of a specification. */
const inSpec = (text: string): string => text.replace(/[\\:[\]]/g, '\\$&');

function valueAction(option: OptionSpec, command: Command | null): string {
  if (option.isValueOptional === true) return `::${inSpec(option.value ?? '')}: `;
  const kind = valueKind(option);
  if (kind.kind === 'none') return '';
  const actions = {
    any: ' ',
    file: '_files',
    columns: `_sequence compadd - ${command === null ? '' : tableWords(command).join(' ')}`,
    words: `(${kind.kind === 'words' ? kind.words.join(' ') : ''})`,
  };
  return `:${inSpec(option.value ?? '')}:${actions[kind.kind]}`;
}

/** `'(-U --unix)'{-U,--unix=}'[help]:PATH:_files'`, the format of _arguments. */
function optionSpec(option: OptionSpec, command: Command | null): string {
  const words = spellings(option);
  const tail = quoted(`[${inSpec(brief(option.help))}]${valueAction(option, command)}`);
  const sign = option.value === undefined ? '' : option.isValueOptional === true ? '=-' : '=';
  const form = words.map((word) => (word.startsWith('--') ? `${word}${sign}` : word));
  const list = form.length === 1 ? form[0] : `{${form.join(',')}}`;
  const before = option.multiple === true ? "'*'" : quoted(`(${words.join(' ')})`);
  return `${before}${list}${tail}`;
}

function positionalSpecs({ positionals, positionalsMax }: Command): readonly string[] {
  const many = positionalsMax > 1 ? '*' : '1';
  if (positionals === 'disk') return [`'${many}:disk:_frontswap_disks'`];
  if (positionals === 'command') return ["'1:command:_frontswap_commands'"];
  if (positionals === 'shell') return ["'1:shell:(bash zsh fish)'"];
  if (positionals === 'file') return [`'${many}:file:_files'`];
  if (positionals === 'none') return [];
  return ["'(-)1:program:_command_names -e'", "'*::arguments:_normal'"];
}

export function zshScript(commands: readonly Command[]): string {
  const described = commands.map(({ name, summary }) => quoted(`${name}:${inSpec(summary)}`));
  const specs = (command: Command): string =>
    [
      ...command.options.map((option) => optionSpec(option, command)),
      ...commonOptions.map((option) => optionSpec(option, null)),
      ...positionalSpecs(command),
    ].join(' \\\n        ');
  const cases = commands
    .map(
      (command) =>
        `    ${command.name})\n      _arguments -s -S \\\n        ${specs(command)} ;;\n`,
    )
    .join('');
  return `#compdef frontswap
# zsh completion for frontswap: a file _frontswap in a folder of $fpath, or eval "$(frontswap completion zsh)"

_frontswap_commands() {
  local -a commands=(
    ${described.join('\n    ')}
  )
  _describe -t commands command commands
}

_frontswap_disks() {
  local -a disks=(\${(f)"$(frontswap list --noheadings --raw --output NAME 2> /dev/null)"})
  compadd -a disks
}

_frontswap() {
  local curcontext=$curcontext state
  local -A opt_args
  _arguments -C -s \\
    ${commonOptions.map((option) => optionSpec(option, null)).join(' \\\n    ')} \\
    '1:command:_frontswap_commands' '*::argument:->rest' && return
  [[ $state == rest ]] || return
  curcontext=\${curcontext%:*}-$words[1]:
  case $words[1] in
${cases}  esac
}

if [[ $funcstack[1] == _frontswap ]]; then _frontswap "$@"; else compdef _frontswap frontswap; fi
`;
}
