/**
 * Runs a program that pages, one that takes pager.c's arguments and talks as it does: it allocates what is its own,
 * prints {"ready":true}, waits for a line, and prints a line of JSON for each pattern.
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
/** Nobody's patterns take this long; a program that is still there hangs. */
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

/** Throws while it runs; one that nobody has waited for yet is at its end, its memory gone. */
function mustHaveEnded(pid: number): void {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return;
  }
  if (stat[stat.lastIndexOf(')') + 2] !== 'Z') throw new Error(`process ${pid} does not end`);
}

/** Kills the program and waits for its end, for which groups and swap devices wait in their turn. */
function stop(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const { pid } = child;
  child.kill('SIGKILL');
  insist(() => mustHaveEnded(pid));
}

/**
 * `where` is the program's first argument: what it pages. `ready` is called between the program's own allocations and
 * its first touch of the region.
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
  child.stdin.on('error', () => undefined); // it ended early: its status says so below
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
