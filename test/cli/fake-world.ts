/** A world without a process: what commands print is kept. */
import { Readable } from 'node:stream';
import { runCli } from '../../src/cli/run.ts';
import type { World } from '../../src/cli/world.ts';

export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** What was written to stdout with writeBytes(). */
  readonly bytes?: Buffer;
}

export interface FakeWorldOptions {
  readonly env?: World['env'];
  readonly isTerminal?: boolean;
  readonly runtimeFolder?: string;
  readonly runProgram?: World['runProgram'];
  /** Chunks on stdin. */
  readonly stdin?: readonly Uint8Array[];
  /** Default: what was written is kept. */
  readonly writeBytes?: World['writeBytes'];
}

/** Runs the command line and returns its status and output. */
export async function cli(
  argv: readonly string[],
  {
    env = {},
    isTerminal = false,
    runtimeFolder = '/nowhere/run',
    stdin = [],
    writeBytes,
    runProgram = () => Promise.reject(new Error('this test runs no program')),
  }: FakeWorldOptions = {},
): Promise<Result> {
  const bytes: Buffer[] = [];
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
    writeBytes: writeBytes ?? (async (chunk) => void bytes.push(Buffer.from(chunk))),
    readBytes: () => Readable.from(stdin),
    runProgram,
    loadParts: () => Promise.reject(new Error('this test starts no host')),
  });
  return { status, ...text, ...(bytes.length > 0 ? { bytes: Buffer.concat(bytes) } : {}) };
}
