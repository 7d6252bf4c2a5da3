/** What this package does when the process exits: one listener for any number of swaps, and output that cannot fail. */
import { writeSync } from 'node:fs';

const actions = new Set<() => void>();

function runAll(): void {
  for (const action of actions) action();
}

/** Calls the action when the process exits. Returns a function that cancels it. */
export function runAtExit(action: () => void): () => void {
  if (actions.size === 0) process.on('exit', runAll);
  actions.add(action);
  return () => {
    if (actions.delete(action) && actions.size === 0) process.off('exit', runAll);
  };
}

/** Prints on stderr. An exception in an exit handler would change the exit status, so text is lost if stderr fails. */
export function printAtExit(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // Closed, full, or a pipe without a reader.
  }
}
