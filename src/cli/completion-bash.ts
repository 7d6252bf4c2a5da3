/** The completion script for bash 4 and later; works with and without the package bash-completion. */
import { type Command, commonOptions, takesWord } from './command.ts';
import { spellings, tableWords, valueKind } from './option-values.ts';

const shells = 'bash zsh fish';

/** Cases that complete the value of an option: `host:-U|host:--unix) ...`. */
function valueCases(command: Command): string {
  return command.options
    .filter(takesWord)
    .map((option) => {
      const pattern = spellings(option).map((it) => `${command.name}:${it}`);
      const kind = valueKind(option);
      const actions = {
        none: ':',
        any: ':',
        file: '_frontswap_files',
        columns: `_frontswap_list '${tableWords(command).join(' ')}'`,
        words: `_frontswap_words '${kind.kind === 'words' ? kind.words.join(' ') : ''}'`,
      };
      return `    ${pattern.join(' | ')}) ${actions[kind.kind]}; return ;;\n`;
    })
    .join('');
}

const optionWords = (command: Command): string =>
  [...command.options, ...commonOptions].flatMap(spellings).join(' ');

function positionalAction({ positionals }: Command, names: readonly string[]): string {
  if (positionals === 'disk') return '_frontswap_words "$(_frontswap_disks)"';
  if (positionals === 'command') return `_frontswap_words '${names.join(' ')}'`;
  if (positionals === 'file') return '_frontswap_files';
  return positionals === 'shell' ? `_frontswap_words '${shells}'` : ':';
}

export function bashScript(commands: readonly Command[]): string {
  const names = commands.map(({ name }) => name);
  const program = commands.filter(({ positionals }) => positionals === 'program');
  const skips = program.flatMap(({ options }) => options.filter(takesWord).flatMap(spellings));
  const cases = commands
    .map(
      (command) => `    ${command.name})
      if [[ $cur == -* ]]; then _frontswap_words '${optionWords(command)}'
      else ${positionalAction(command, names)}; fi ;;
`,
    )
    .join('');
  return `# bash completion for frontswap: eval "$(frontswap completion bash)"

_frontswap_words() { COMPREPLY=($(compgen -W "$1" -- "$cur")); }

_frontswap_files() {
  compopt -o filenames 2> /dev/null
  local IFS=$'\\n'
  COMPREPLY=($(compgen -f -- "$cur"))
}

# A list of words separated by commas; a leading '+' adds to the default.
_frontswap_list() {
  local before=
  if [[ $cur == *,* ]]; then before=\${cur%,*},
  elif [[ $cur == +* ]]; then before=+; fi
  COMPREPLY=($(compgen -P "$before" -W "$1" -- "\${cur#"$before"}"))
  compopt -o nospace 2> /dev/null
}

_frontswap_disks() { "\${COMP_WORDS[0]}" list --noheadings --raw --output NAME 2> /dev/null; }

# The program of 'frontswap run' or 'doctor --run' and its arguments. $1: the index of the program's name.
_frontswap_program() {
  if ((COMP_CWORD == $1)); then COMPREPLY=($(compgen -c -- "$cur"))
  elif declare -F _command_offset > /dev/null; then _command_offset "$1"
  else _frontswap_files; fi
}

_frontswap() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} command= at
  COMPREPLY=()
  # bash cuts '--unix=PATH' at the '='
  if [[ $cur == = ]]; then cur=
  elif [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  for ((at = 1; at < COMP_CWORD; at++)); do
    if [[ \${COMP_WORDS[at]} != -* ]]; then command=\${COMP_WORDS[at]}; break; fi
  done
  if [[ -z $command ]]; then
    if [[ $cur == -* ]]; then _frontswap_words '${commonOptions.flatMap(spellings).join(' ')}'
    else _frontswap_words '${names.join(' ')}'; fi
    return
  fi
  if [[ $command == @(${program.map(({ name }) => name).join('|')}) ]]; then
    for ((at++; at <= COMP_CWORD; at++)); do
      case \${COMP_WORDS[at]} in
        --) if ((at < COMP_CWORD)); then _frontswap_program $((at + 1)); return; fi ;;
        ${skips.join(' | ')})
          ((at++))
          if [[ \${COMP_WORDS[at]} == = ]]; then ((at++)); fi ;;
        -*) ;;
        *) _frontswap_program "$at"; return ;;
      esac
    done
  fi
  case "$command:$prev" in
${commands.map(valueCases).join('')}  esac
  case $command in
${cases}  esac
}

complete -F _frontswap frontswap
`;
}
