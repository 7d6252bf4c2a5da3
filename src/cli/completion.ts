/** `frontswap completion`: prints a completion script for a shell, generated from the table of commands. */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import { type Command, Exit } from './command.ts';
import { bashScript } from './completion-bash.ts';
import { fishScript } from './completion-fish.ts';
import { zshScript } from './completion-zsh.ts';

const scripts: Readonly<Record<string, (commands: readonly Command[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};
const shells = Object.keys(scripts);

export const completionCommand: Command = {
  name: 'completion',
  group: 'general',
  summary: 'print a completion script for a shell',
  usage: 'completion bash|zsh|fish',
  examples: [
    { line: 'eval "$(frontswap completion bash)"', what: 'for this shell, or in ~/.bashrc' },
    {
      line: 'frontswap completion zsh > ~/.zfunc/_frontswap',
      what: 'with fpath+=~/.zfunc before compinit in ~/.zshrc',
    },
    {
      line: 'frontswap completion fish > ~/.config/fish/completions/frontswap.fish',
      what: 'loaded by every new fish',
    },
  ],
  options: [],
  positionals: 'shell',
  positionalsMax: 1,
  notes: ['Completion of disk names queries the running hosts.'],
  async run(args, world, table) {
    const shell = args.positionals[0];
    if (shell === undefined)
      throw new SwapError('ERR_ARG_VALUE', `SHELL: choose one of ${shells.join(', ')}`, {
        key: 'SHELL',
      });
    const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
    if (script === undefined)
      throw new SwapError(
        'ERR_ARG_VALUE',
        `SHELL: unknown shell '${shell}'; choose one of ${shells.join(', ')}${suggestion(shell, shells)}`,
        { key: 'SHELL', value: shell },
      );
    world.stdout.write(script(await Promise.all(table.names.map((name) => table.load(name)))));
    return Exit.ok;
  },
};
