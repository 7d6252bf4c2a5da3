/** Signals of `frontswap host`. This file imports nothing, because it is loaded before the handlers are installed. */

/** Signals that must be harmless before the host has installed its handlers. */
export const earlySignals: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGUSR1', 'SIGUSR2'];

/** Signals that request a stop of the host. */
export const stopSignals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGQUIT'];
