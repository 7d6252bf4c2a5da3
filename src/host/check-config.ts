/**
 * The checks of --check beyond the configuration: whether the codec, files, sockets and addresses that a host needs are
 * available now. It reports the errors that a start would report, in the same order, and leaves nothing behind: backings are
 * opened and closed, TCP addresses are bound and released, folders and sockets are only inspected. Resources of a running host
 * count as in use.
 */
import { accessSync, constants, lstatSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { SwapError } from '../base/errors.ts';
import { systemError } from '../os/system-error.ts';
import {
  checkSocketPath,
  controlSocketPath,
  tmemSocketPath,
  unixSocketPath,
  vhostUserSocketPath,
} from '../os/unix-socket.ts';
import { BackingFiles } from './backing-file.ts';
import { codecNamed } from './compose.ts';
import type { HostConfig } from './config/host-config.ts';
import { checkControlNames } from './control-names.ts';
import { type MetricsAddress, tcpListenError } from './metrics-server.ts';
import { checkPidFile } from './pid-file.ts';
import { checkPrivateFolder } from './runtime-folder.ts';
import { firstPort } from './tcp-port.ts';
import { loadTls } from './tls-files.ts';

export interface CheckOptions {
  readonly config: HostConfig;
  /** Folder of private sockets and of the default control socket. */
  readonly runtimeFolder: string;
  readonly uid: number;
}

/** @throws SwapError the first error of a start */
export async function checkConfig({ config, runtimeFolder, uid }: CheckOptions): Promise<void> {
  codecNamed(config.codec);
  checkBackings(config, uid);
  if (config.tls !== null) loadTls(config.tls, uid, () => undefined);
  const { unix, tcp, control, pidFile } = config;
  const isFolderNeeded = unix === '-' || control === 'default' || control === 'private';
  if (isFolderNeeded) checkRuntimeFolder(runtimeFolder, uid);
  if (unix !== null && unix !== '-') await checkSocketPath(unixSocketPath(unix));
  if (config.tmem !== null) await checkSocketPath(tmemSocketPath(config.tmem.path));
  for (const { vhostUser } of config.disks)
    if (vhostUser !== undefined) await checkSocketPath(vhostUserSocketPath(vhostUser));
  if (tcp !== null) await firstPort(tcp, (port) => checkTcp(tcp.host, port));
  if (control === 'default') {
    if (lstatSync(runtimeFolder, { throwIfNoEntry: false }) !== undefined)
      await checkControlNames(runtimeFolder);
  } else if (control !== null && control !== 'private')
    await checkSocketPath(controlSocketPath(control.path, false));
  await checkHttp(config.metrics, '--metrics', 'metrics');
  await checkHttp(config.dashboard, '--dashboard', 'the dashboard');
  if (pidFile !== null) checkPidFile(pidFile);
}

async function checkHttp(
  address: MetricsAddress | null,
  option: string,
  what: string,
): Promise<void> {
  if (address === null) return;
  try {
    await checkTcp(address.host, address.port);
  } catch (cause) {
    throw tcpListenError(address, cause, option, what);
  }
}

/** Opens all of them before it closes any, to detect one file under two paths. */
function checkBackings({ disks }: HostConfig, uid: number): void {
  const files = new BackingFiles(uid);
  const open: Disposable[] = [];
  try {
    for (const { backing, sizeBytes } of disks)
      if (backing !== undefined) open.push(files.open(backing, sizeBytes).disk);
  } finally {
    for (const disk of open) disk[Symbol.dispose]();
  }
}

/** Checks that the folder is private, or can be created. */
function checkRuntimeFolder(path: string, uid: number): void {
  try {
    checkPrivateFolder(path, uid);
    let parent = path;
    while (lstatSync(parent, { throwIfNoEntry: false }) === undefined) parent = dirname(parent);
    // The final '.' makes access(2) fail with ENOTDIR if a file is in its place.
    accessSync(`${parent}/.`, constants.W_OK | constants.X_OK);
  } catch (cause) {
    if (cause instanceof SwapError) throw cause;
    throw systemError(
      `use the folder ${path}`,
      cause,
      'choose other paths with --control and --unix',
    );
  }
}

async function checkTcp(host: string, port: number): Promise<void> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}
