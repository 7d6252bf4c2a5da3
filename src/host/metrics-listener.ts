/**
 * The metrics server of a host; its address can change while the host runs.
 *
 * Invariants
 * - If a move fails, the previous server stays open.
 * - After close() no server is open, even if a move was in progress.
 */
import { SwapError } from '../base/errors.ts';
import type { MetricsAddress, MetricsServer } from './metrics-server.ts';

export class MetricsListener {
  readonly #listen: (address: MetricsAddress) => Promise<MetricsServer>;
  #server: MetricsServer | null = null;
  #isClosed = false;

  constructor(listen: (address: MetricsAddress) => Promise<MetricsServer>) {
    this.#listen = listen;
  }

  /** The bound address; null: there is none. */
  get address(): MetricsAddress | null {
    return this.#server?.address ?? null;
  }

  /**
   * Opens the new address, then closes the previous one. Two addresses with one port, such as 127.0.0.1 and 0.0.0.0, cannot
   * both be open: then the previous one is closed first, and opened again if the new one fails.
   * @throws SwapError ERR_IO_IN_USE, ERR_IO_SYSTEM
   */
  async move(address: MetricsAddress | null): Promise<void> {
    const before = this.#server;
    const former = before?.address;
    if (address === null || address.port === former?.port) {
      this.#server = null;
      await before?.close();
      if (address !== null) await this.#open(address).catch((error) => this.#reopen(former, error));
      return;
    }
    await this.#open(address);
    await before?.close();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.move(null);
  }

  async #open(address: MetricsAddress): Promise<void> {
    const server = await this.#listen(address);
    if (this.#isClosed) {
      await server.close();
      throw new SwapError('ERR_IO_IN_USE', 'metrics: the host is stopping');
    }
    this.#server = server;
  }

  async #reopen(former: MetricsAddress | undefined, error: unknown): Promise<never> {
    if (former !== undefined) await this.#open(former).catch(() => undefined); // the first error is the cause
    throw error;
  }
}
