/** The program with stand-in parts: everything is real but disk and door. */
import { setTimeout as sleep } from 'node:timers/promises';
import { runCli } from '../../src/cli/run.ts';
import { realWorld } from '../../src/cli/world.ts';
import type { HostParts } from '../../src/host/parts.ts';
import { standInParts } from '../support/fakes/stand-in.ts';

/** How long the door takes to close: time for a second signal. */
const closeMs = Number(process.env['STAND_IN_CLOSE_MS'] ?? 0);

async function slowParts(): Promise<HostParts> {
  const parts = standInParts();
  return {
    ...parts,
    createNbd(options) {
      const door = parts.createNbd(options);
      const close = door.close.bind(door);
      door.close = async () => {
        await sleep(closeMs);
        await close();
      };
      return door;
    },
  };
}

const world = realWorld();
/** Root's own is one for the whole machine. */
const runtimeFolder = process.env['STAND_IN_FOLDER'] ?? world.runtimeFolder;

process.exit(
  await runCli(process.argv.slice(2), { ...world, runtimeFolder, loadParts: slowParts }),
);
