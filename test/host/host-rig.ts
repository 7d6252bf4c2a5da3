/** A host with stand-in parts in a folder of its own. */
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { HostConfig } from '../../src/host/config/host-config.ts';
import { Host } from '../../src/host/host.ts';
import type { HostOptions } from '../../src/host/host-options.ts';
import { type StandInParts, standInParts } from '../support/fakes/stand-in.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { configOf } from '../support/fixtures/host-config.ts';

/** Settings: @ is replaced by the folder. */
interface Rig {
  readonly folder: string;
  readonly parts: StandInParts;
  readonly logged: string[];
  readonly options: HostOptions;
}

export function rig(t: TestContext, settings: object): Rig {
  const folder = testFolder(t);
  const parts = standInParts();
  const logged: string[] = [];
  const withControl =
    'control' in settings || 'no-control' in settings || 'run' in settings
      ? settings
      : { ...settings, control: join(folder, 'control') };
  const config: HostConfig = configOf(
    JSON.parse(JSON.stringify(withControl).replaceAll('@', folder)) as Record<string, unknown>,
  );
  const options: HostOptions = {
    config,
    parts,
    runtimeFolder: join(folder, 'run'),
    uid: process.getuid?.() ?? 0,
    version: '1.2.3',
    log: (line) => logged.push(line),
    trace: null,
    checkStop: () => undefined,
    onStopRequest: () => undefined,
  };
  return { folder, parts, logged, options };
}

export async function start(t: TestContext, options: HostOptions): Promise<Host> {
  const host = await Host.start(options);
  t.after(() => host.stop());
  return host;
}

export const socketTo = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.once('error', reject);
  });

/** Settings of a host with two disks on both kinds of sockets. */
export const sample: Readonly<Record<string, unknown>> = {
  unix: '@/s',
  port: 0,
  disk: ['a=1M,limit=1M', 'b=2M'],
  pidfile: '@/pid',
};
