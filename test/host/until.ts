/** Waits for a fact that other processes or timers bring about. */

/** A hung test says what it waited for. Far above what any machine needs; nothing is measured by it. */
const watchdogMs = 60_000;

export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + watchdogMs;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`waited in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
