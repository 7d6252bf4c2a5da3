#!/usr/bin/env node
/** The program `frontswap`. */
import { earlySignals } from './signals.ts';

// Install handlers first: while the modules load, SIGHUP would end a host, and SIGUSR1 would open Node's debugger for the
// lifetime of the process.
const ignore = (): void => {};
if (process.argv.includes('host')) for (const signal of earlySignals) process.on(signal, ignore);
const [{ runCli }, { realWorld }] = await Promise.all([import('./run.ts'), import('./world.ts')]);

const status = await runCli(process.argv.slice(2), realWorld());
// Exit once the output is flushed, even if handles are still open.
process.stdout.write('', () => process.exit(status));
