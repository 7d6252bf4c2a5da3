/** A world without a process: what commands print is kept. */
import { runCli } from '../../src/cli/run.ts';
import type { World } from '../../src/cli/world.ts';

export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface FakeWorldOptions {
  readonly env?: World['env'];
  readonly isTerminal?: boolean;
  readonly runtimeFolder?: string;
  readonly runProgram?: World['runProgram'];
}

/** Runs the command line and returns its status and output. */
export async function cli(
  argv: readonly string[],
  {
    env = {},
    isTerminal = false,
    runtimeFolder = '/nowhere/run',
    runProgram = () => Promise.reject(new Error('this test runs no program')),
  }: FakeWorldOptions = {},
): Promise<Result> {
  const text = { stdout: '', stderr: '' };
  const output = (name: 'stdout' | 'stderr'): World['stdout'] => ({
    isTerminal,
    columns: 80,
    write: (more) => {
      text[name] += more;
    },
  });
  const status = await runCli(argv, {
    env,
    uid: process.getuid?.() ?? 0,
    runtimeFolder,
    stdout: output('stdout'),
    stderr: output('stderr'),
    runProgram,
    loadParts: () => Promise.reject(new Error('this test starts no host')),
  });
  return { status, ...text };
}
