/** The program with stand-in parts: everything except the disk and the NBD server is real. */
import { setTimeout as sleep } from 'node:timers/promises';
import { runCli } from '../../src/cli/run.ts';
import { realWorld } from '../../src/cli/world.ts';
import type { HostParts } from '../../src/host/parts.ts';
import { standInParts } from '../support/fakes/stand-in.ts';

/** Time that the NBD server takes to close, ms: enough for a second signal. */
const closeMs = Number(process.env['STAND_IN_CLOSE_MS'] ?? 0);

async function slowParts(): Promise<HostParts> {
  const parts = standInParts();
  return {
    ...parts,
    createNbd(options) {
      const made = parts.createNbd(options);
      const close = made.close.bind(made);
      made.close = async () => {
        await sleep(closeMs);
        await close();
      };
      return made;
    },
  };
}

const world = realWorld();
/** Root's default folder is the same for the whole machine. */
const runtimeFolder = process.env['STAND_IN_FOLDER'] ?? world.runtimeFolder;

process.exit(
  await runCli(process.argv.slice(2), { ...world, runtimeFolder, loadParts: slowParts }),
);
