/** The connections that wait for the gate of their export, each with a timer for asking again. */
import type { NbdConnection } from './connection.ts';

/** A held connection asks its gate again after at most this time, because the rate may have been raised. */
const HOLD_MS_MAX = 1000;

export class HeldConnections {
  /** Null: no timer, the export is frozen. */
  readonly #timers = new Map<NbdConnection, NodeJS.Timeout | null>();

  /** @param waitMs Infinity: until resume() */
  hold(connection: NbdConnection, waitMs: number): void {
    const isTimed = waitMs !== Number.POSITIVE_INFINITY;
    const ask = (): void => this.#release(connection);
    this.#timers.set(
      connection,
      isTimed ? setTimeout(ask, Math.min(waitMs, HOLD_MS_MAX)).unref() : null,
    );
  }

  /** Serves the held connections of an export. */
  resume(exportName: string): void {
    for (const connection of this.#timers.keys())
      if (connection.session.export?.name === exportName) this.#release(connection);
  }

  forget(connection: NbdConnection): void {
    const timer = this.#timers.get(connection) ?? null;
    if (timer !== null) clearTimeout(timer);
    this.#timers.delete(connection);
  }

  /** Drops connections after their client has disconnected: a held connection does not read, so Node does not report that. */
  dropDeparted(hasHungUp: (fd: number) => boolean): void {
    for (const connection of this.#timers.keys())
      if (hasHungUp(connection.descriptor))
        connection.drop('client disconnected while its requests were waiting');
  }

  #release(connection: NbdConnection): void {
    this.forget(connection);
    connection.release();
  }
}
