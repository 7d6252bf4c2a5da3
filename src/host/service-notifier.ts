/**
 * Tells systemd, for a unit with Type=notify, when the host is ready, when it stops, and that its event loop runs.
 *
 *   ready()      READY=1, STATUS=; from then on WATCHDOG=1 at half of WATCHDOG_USEC, from a timer of the event loop
 *   stopping()   STOPPING=1, STATUS=; the watchdog continues until close()
 *
 * Without NOTIFY_SOCKET nothing is sent. If a message cannot be sent, the host logs that and continues. Of several watchdog
 * failures in a row only the first is logged.
 *
 * Sources: sd_notify(3), sd_watchdog_enabled(3).
 */
import { NotifySocket } from '../os/linux/notify-socket.ts';
import { loadLinux } from '../os/linux/system-call.ts';
import type { Log } from './parts.ts';
import type { Environment } from './runtime-folder.ts';

/** How long ready() and stopping() may wait for space in the queue of the service manager. */
const PATIENCE_MS = 1000;
const TIMER_MS_MAX = 2 ** 31 - 1;

type Send = (text: string, timeoutMs: number) => void;

export class ServiceNotifier {
  readonly #log: Log;
  readonly #send: Send | null;
  /** Interval of the watchdog's messages; null: no watchdog. */
  readonly #watchdogMs: number | null;
  readonly #answers: () => Promise<boolean> | null;
  #timer: NodeJS.Timeout | null = null;
  #isAsking = false;
  #isWatchdogFailing = false;

  /** @param answers whether the other threads answer; the watchdog is fed only if they do. Null, the default: there are none */
  constructor(
    env: Environment,
    pid: number,
    log: Log,
    answers: () => Promise<boolean> | null = () => null,
  ) {
    this.#log = log;
    this.#answers = answers;
    this.#send = this.#open(env['NOTIFY_SOCKET']);
    this.#watchdogMs = this.#send === null ? null : this.#interval(env, pid);
  }

  ready(status: string): void {
    this.#notify(`READY=1\nSTATUS=${oneLine(status)}\n`);
    if (this.#watchdogMs === null || this.#timer !== null) return;
    this.#timer = setInterval(() => void this.#watch(), this.#watchdogMs);
    this.#timer.unref();
  }

  /** systemd requires the CLOCK_MONOTONIC time; ready() ends the reload. */
  reloading(): void {
    const microseconds = process.hrtime.bigint() / 1000n;
    this.#notify(`RELOADING=1\nMONOTONIC_USEC=${microseconds}\n`);
  }

  stopping(status: string): void {
    this.#notify(`STOPPING=1\nSTATUS=${oneLine(status)}\n`);
  }

  /** Stops the watchdog's messages. Safe to call twice. */
  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #open(address: string | undefined): Send | null {
    if (address === undefined || address === '') return null;
    const { linux, reason } = loadLinux();
    try {
      if (linux === null) throw new Error(reason);
      const socket = new NotifySocket(linux, address);
      return (text, timeoutMs) => socket.send(text, timeoutMs);
    } catch (error) {
      this.#log(`NOTIFY_SOCKET: systemd is not notified: ${(error as Error).message}`);
      return null;
    }
  }

  #interval({ WATCHDOG_USEC: text, WATCHDOG_PID: owner }: Environment, pid: number): number | null {
    if (text === undefined || (owner !== undefined && owner !== String(pid))) return null;
    const microseconds = /^[1-9][0-9]{0,18}$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isNaN(microseconds)) {
      this.#log(`WATCHDOG_USEC: '${text}' is not a time in microseconds: the watchdog is not fed`);
      return null;
    }
    return Math.min(TIMER_MS_MAX, Math.max(1, Math.floor(microseconds / 2000)));
  }

  #notify(text: string): void {
    if (this.#send === null) return;
    try {
      this.#send(text, PATIENCE_MS);
    } catch (error) {
      this.#log(`systemd is not notified: ${(error as Error).message}`);
    }
  }

  async #watch(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const areAlive = (await this.#answers()) ?? true;
    this.#isAsking = false;
    if (areAlive && this.#timer !== null) this.#feedWatchdog();
  }

  #feedWatchdog(): void {
    if (this.#send === null) return;
    try {
      this.#send('WATCHDOG=1\n', 0); // a full queue is retried at the next interval
      this.#isWatchdogFailing = false;
    } catch (error) {
      if (!this.#isWatchdogFailing)
        this.#log(`the watchdog of systemd is not fed: ${(error as Error).message}`);
      this.#isWatchdogFailing = true;
    }
  }
}

/** A newline ends a field of a notification. */
const oneLine = (text: string): string => text.replaceAll('\n', ' ');
