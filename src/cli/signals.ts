/** Signals of `frontswap host`. This file imports nothing: it is loaded before the handlers are installed. */

/** Those that mean something, or nothing, once the host runs, and that must do no harm before. */
export const earlySignals: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGUSR1', 'SIGUSR2'];

/** Those that ask the host to stop. */
export const stopSignals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGQUIT'];
