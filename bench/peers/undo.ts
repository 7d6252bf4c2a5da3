/**
 * Undoes what a bench changes on the machine: on dispose(), or when the process exits (uncaught exception, SIGINT,
 * SIGTERM, SIGHUP). Undo functions are therefore synchronous. After SIGKILL nothing is undone; docs/benchmarks.md lists
 * what to remove by hand.
 */

const pending: (() => void)[] = [];
const signals = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
let isWatching = false;

function watch(): void {
  isWatching = true;
  process.once('exit', () => {
    // In reverse order; a failure does not stop the others.
    for (let undo = pending.pop(); undo !== undefined; undo = pending.pop()) {
      try {
        undo();
      } catch (error) {
        console.error(`bench: not undone: ${String(error)}`);
      }
    }
  });
  for (const [name, number] of Object.entries(signals))
    process.once(name, () => process.exit(128 + number));
}

/** Runs `undo` once: when the result is disposed, or when the process exits. */
export function undoLater(undo: () => void): Disposable {
  if (!isWatching) watch();
  pending.push(undo);
  return {
    [Symbol.dispose]: () => {
      const at = pending.indexOf(undo);
      if (at < 0) return;
      pending.splice(at, 1);
      undo();
    },
  };
}

const word = new Int32Array(new SharedArrayBuffer(4));

/** Calls `attempt` until it does not throw, for up to five seconds; then throws its error. */
export function insist(attempt: () => void): void {
  for (let left = 50; ; left--) {
    try {
      attempt();
      return;
    } catch (error) {
      if (left === 0) throw error;
      Atomics.wait(word, 0, 0, 100);
    }
  }
}
