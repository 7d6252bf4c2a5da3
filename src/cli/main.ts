#!/usr/bin/env node
/** The program `frontswap`. */
import { earlySignals } from './signals.ts';

// Handlers before all else: loading takes a while, and until then SIGHUP would end a host, and SIGUSR1 would open
// Node's debugger, for as long as the process lives. What is left is the start of Node itself.
const ignore = (): void => {};
if (process.argv.includes('host')) for (const signal of earlySignals) process.on(signal, ignore);
const [{ runCli }, { realWorld }] = await Promise.all([import('./run.ts'), import('./world.ts')]);

const status = await runCli(process.argv.slice(2), realWorld());
// What is written reaches its reader first; then nothing that is still open keeps the process.
process.stdout.write('', () => process.exit(status));
