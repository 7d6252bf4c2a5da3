/**
 * Runs the command of an argument list and returns its exit status; prints errors on stderr. The commands themselves print no
 * errors and do not end the process.
 */
import { type ErrorCode, SwapError } from '../base/errors.ts';
import { checkPositionals, sortArguments, splitProgram } from './arguments.ts';
import { type Arguments, type Command, Exit } from './command.ts';
import { commandTable } from './commands.ts';
import { styleFor, wantsColor } from './style.ts';
import type { World } from './world.ts';

function statusOf(error: unknown): number {
  if (!(error instanceof SwapError)) return Exit.failed;
  if (error.code.startsWith('ERR_ARG_')) return Exit.usage;
  return statuses[error.code] ?? Exit.failed;
}

const statuses: { readonly [code in ErrorCode]?: number } = {
  ERR_IO_NOT_REACHABLE: Exit.notReachable,
  ERR_IO_NO_PROGRAM: Exit.notFound,
  ERR_IO_NOT_EXECUTABLE: Exit.notExecutable,
};

/** The causes of an error, one per line. */
function causesOf(error: Error): string {
  let lines = '';
  for (let at = error.cause; at instanceof Error; at = at.cause)
    lines += `  cause: ${at.message}\n`;
  return lines;
}

function printError(error: unknown, program: string, argv: readonly string[], world: World): void {
  const on = wantsColor(world.stderr, world.env, argv.includes('--no-color'));
  const start = `${program}: ${styleFor(on).danger('error:')}`;
  if (!(error instanceof SwapError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    world.stderr.write(`${start} this is a bug of frontswap; please report it\n${stack}\n`);
    return;
  }
  world.stderr.write(`${start} ${error.message}\n`);
  if (argv.includes('-v') || argv.includes('--verbose'))
    world.stderr.write(`  code: ${error.code}\n${causesOf(error)}`);
  if (statusOf(error) === Exit.usage) world.stderr.write(`See '${program} --help'.\n`);
}

async function dispatch(command: Command, args: Arguments, world: World): Promise<number> {
  if (args.options.has('help')) {
    const { printHelp } = await import('./help.ts');
    printHelp(command, args, world);
    return Exit.ok;
  }
  if (args.options.has('version')) {
    const { versionCommand } = await import('./version.ts');
    return versionCommand.run(args, world, commandTable);
  }
  checkPositionals(command, args);
  return command.run(args, world, commandTable);
}

/**
 * @param argv the arguments after the name of the program
 * @returns the exit status
 */
export async function runCli(argv: readonly string[], world: World): Promise<number> {
  const at = argv.findIndex((word) => !word.startsWith('-'));
  const isVersion = argv.includes('--version') || argv.includes('-V');
  const name = argv[at] ?? (isVersion ? 'version' : 'help');
  // 'frontswap --help' lists the commands; it is not help on the command help.
  const rest = argv.filter((word, i) => (at < 0 ? word !== '-h' && word !== '--help' : i !== at));
  let own: readonly string[] = rest; // without the command line of a program to run
  const program = at < 0 ? 'frontswap' : `frontswap ${name}`;
  try {
    if (argv.length === 0) {
      const { overview } = await import('./help.ts');
      world.stderr.write(await overview(commandTable, false));
      return Exit.usage;
    }
    const command = await commandTable.load(name);
    const [options, words] = splitProgram(command, rest);
    own = options;
    const { options: given, positionals } = sortArguments(command, options);
    return await dispatch(
      command,
      { options: given, positionals: [...positionals, ...words] },
      world,
    );
  } catch (error) {
    const known = commandTable.names.includes(name) ? program : 'frontswap';
    printError(error, known, own, world);
    return statusOf(error);
  }
}
