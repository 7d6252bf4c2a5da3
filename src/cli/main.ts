#!/usr/bin/env node
/** The program `frontswap`. */
import { runCli } from './run.ts';
import { realWorld } from './world.ts';

const status = await runCli(process.argv.slice(2), realWorld());
// What is written reaches its reader first; then nothing that is still open keeps the process.
process.stdout.write('', () => process.exit(status));
