/**
 * Runs a paging program with the arguments and the protocol of pager.c: it allocates its own memory, prints
 * {"ready":true}, waits for a line, and prints a line of JSON per pattern.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type PhaseResult, type Plan, parsePhases } from '../touches.ts';
import { insist, undoLater } from './undo.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
/** A program that runs longer hangs. */
const TIMEOUT_MS = 15 * 60_000;

let program: string | undefined;

/** bench/reference/pager.c, compiled once. */
export function referencePager(): string {
  if (program !== undefined) return program;
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-pager-'));
  undoLater(() => rmSync(folder, { recursive: true, force: true }));
  const compiled = join(folder, 'pager');
  const source = join(root, 'bench/reference/pager.c');
  execFileSync('cc', ['-O2', '-o', compiled, source], { stdio: 'inherit' });
  program = compiled;
  return compiled;
}

/** Throws while the process runs. A zombie has ended: its memory is free. */
function mustHaveEnded(pid: number): void {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return;
  }
  if (stat[stat.lastIndexOf(')') + 2] !== 'Z') throw new Error(`process ${pid} is still running`);
}

/** Kills the program and waits for its end; until then its group and swap device cannot be removed. */
function stop(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const { pid } = child;
  child.kill('SIGKILL');
  insist(() => mustHaveEnded(pid));
}

/**
 * @param where the program's first argument: what it pages
 * @param ready called after the program's own allocations and before its first touch of the region
 */
export async function runPagerProgram(
  command: readonly string[],
  where: string,
  patterns: readonly string[],
  plan: Plan,
  ready: (pid: number) => void,
): Promise<PhaseResult[]> {
  const { pagesFile, regionBytes, budgetBytes, seed, touches } = plan;
  const args = [where, pagesFile, regionBytes, budgetBytes, seed, touches].map(String);
  const [program, ...first] = command;
  const child = spawn(program!, [...first, ...args, ...patterns], {
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const ended = new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(signal ?? `status ${code}`));
  });
  using _stopped = undoLater(() => stop(child));
  child.stdin.on('error', () => undefined); // if it ended early, its status is checked below
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (lines.push(line) > 1) continue;
    ready(child.pid!);
    child.stdin.end('go\n');
  }
  const end = await ended;
  if (end !== 'status 0') throw new Error(`${program} ended with ${end}`);
  return parsePhases(lines.slice(1), patterns, plan);
}
