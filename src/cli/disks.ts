/** Selects hosts and disks for the commands that talk to running hosts. */
import { SwapError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { askDisks } from '../host/control-client.ts';
import { controlPathIn, controlPathsIn } from '../host/control-names.ts';
import type { DiskReport } from '../host/list-document.ts';
import { checkPrivateFolder } from '../host/runtime-folder.ts';
import { type Arguments, flag, type OptionSpec, text } from './command.ts';
import type { World } from './world.ts';

export const controlOption: OptionSpec = {
  name: 'control',
  value: 'PATH',
  help: 'control socket of a host (default $FRONTSWAP_CONTROL, else all your hosts)',
};

/** A host that answered. */
export interface FoundHost {
  readonly control: string;
  readonly disks: readonly DiskReport[];
}

interface Found {
  readonly hosts: readonly FoundHost[];
  /** Errors of the hosts that did not answer. */
  readonly failures: readonly string[];
}

/** Description of a host in messages: `process 12 (/run/frontswap/control.sock)`. */
const hostText = ({ control, disks: [disk] }: FoundHost): string =>
  disk === undefined ? control : `process ${disk.hostPid} (${control})`;

/** One line per host, with its disks. */
const hostLines = (hosts: readonly FoundHost[]): string =>
  hosts
    .map((host) => `\n  ${hostText(host)}: ${host.disks.map(({ name }) => name).join(', ')}`)
    .join('');

async function ask(control: string, args: Arguments, world: World): Promise<FoundHost> {
  if (flag(args, 'verbose')) world.stderr.write(`querying the host on ${control}\n`);
  return { control, disks: (await askDisks(control)).disks };
}

/** No process listens at the socket: its host was killed. */
const isDead = ({ code, facts }: SwapError): boolean =>
  code === 'ERR_IO_NOT_REACHABLE' && ['ECONNREFUSED', 'ENOENT'].includes(String(facts['errno']));

async function find(args: Arguments, world: World): Promise<Found> {
  const path = text(args, 'control') ?? world.env['FRONTSWAP_CONTROL'] ?? '';
  if (path !== '') return { hosts: [await ask(path, args, world)], failures: [] };
  const folder = world.runtimeFolder;
  // Refuses a folder that another user created.
  checkPrivateFolder(folder, world.uid);
  const paths = controlPathsIn(folder);
  const answers = await Promise.allSettled(paths.map((at) => ask(at, args, world)));
  const hosts: FoundHost[] = [];
  const failures: SwapError[] = [];
  for (const answer of answers)
    if (answer.status === 'fulfilled') hosts.push(answer.value);
    else if (!(answer.reason instanceof SwapError)) throw answer.reason;
    else if (!isDead(answer.reason)) failures.push(answer.reason);
  if (hosts.length > 0) return { hosts, failures: failures.map(({ message }) => message) };
  if (failures[0] !== undefined) throw failures[0];
  return { hosts: [await ask(controlPathIn(folder), args, world)], failures: [] };
}

/**
 * The host of --control or of the environment, or else all hosts of this user; at least one. A warning on stderr names
 * each host that does not answer.
 * @throws SwapError ERR_IO_NOT_REACHABLE, ERR_IO_UNSAFE_PATH, ERR_PEER_PROTOCOL
 */
export async function findHosts(
  command: string,
  args: Arguments,
  world: World,
): Promise<readonly FoundHost[]> {
  const { hosts, failures } = await find(args, world);
  for (const message of failures) world.stderr.write(`frontswap ${command}: warning: ${message}\n`);
  return hosts;
}

/**
 * The only host.
 * @param namesDisk whether the command can name a disk to choose the host
 * @throws SwapError ERR_ARG_VALUE: there are several, even if they do not answer; or as findHosts()
 */
export async function onlyHost(
  args: Arguments,
  world: World,
  namesDisk: boolean,
): Promise<FoundHost> {
  const { hosts, failures } = await find(args, world);
  const [host] = hosts;
  if (host !== undefined && hosts.length + failures.length === 1) return host;
  const others = failures.map((message) => `\n  ${message}`).join('');
  const how = namesDisk ? 'name a disk of the one you mean, or use' : 'choose one with';
  throw new SwapError(
    'ERR_ARG_VALUE',
    `there are several hosts; ${how} --control PATH:${hostLines(hosts)}${others}`,
    { key: namesDisk ? 'NAME' : '--control' },
  );
}

/** The disk that the command is about, and its host. @throws SwapError as hostWithDisk(); ERR_ARG_VALUE: no NAME */
export async function chosenDisk(
  command: string,
  args: Arguments,
  world: World,
): Promise<{ readonly name: string; readonly control: string }> {
  const name = args.positionals[0];
  if (name === undefined)
    throw new SwapError('ERR_ARG_VALUE', 'NAME: choose a disk', { key: 'NAME' });
  return { name, control: hostWithDisk(name, await findHosts(command, args, world)).control };
}

export const disksOf = (hosts: readonly FoundHost[]): readonly DiskReport[] =>
  hosts.flatMap(({ disks }) => disks);

/** The disks with this name, at most one per host. @throws SwapError ERR_ARG_UNKNOWN */
export function disksNamed(name: string, hosts: readonly FoundHost[]): readonly DiskReport[] {
  const disks = disksOf(hosts);
  const found = disks.filter((disk) => disk.name === name);
  if (found.length > 0) return found;
  const names = [...new Set(disks.map((disk) => disk.name))];
  const near = nearest(name, names);
  const hint =
    near === null ? `; available disks: ${names.join(', ')}` : `; did you mean '${near}'?`;
  const what =
    hosts.length === 1
      ? `the host has no disk '${name}'`
      : `none of ${hosts.length} hosts has a disk '${name}'`;
  throw new SwapError('ERR_ARG_UNKNOWN', `${what}${hint}`, { value: name });
}

/** The host with a disk of this name. @throws SwapError ERR_ARG_UNKNOWN; ERR_ARG_VALUE: several hosts have one */
export function hostWithDisk(name: string, hosts: readonly FoundHost[]): FoundHost {
  disksNamed(name, hosts);
  const having = hosts.filter(({ disks }) => disks.some((disk) => disk.name === name));
  const [host, second] = having;
  if (host !== undefined && second === undefined) return host;
  throw new SwapError(
    'ERR_ARG_VALUE',
    `several hosts have a disk '${name}'; choose the host with --control PATH:${hostLines(having)}`,
    { key: 'NAME', value: name },
  );
}

/** The only disk. @throws SwapError ERR_ARG_VALUE: there are several, or none */
export function onlyDisk(hosts: readonly FoundHost[]): DiskReport {
  const [only, second] = disksOf(hosts);
  if (only !== undefined && second === undefined) return only;
  const names = hosts[0]?.disks.map(({ name }) => name).join(', ') ?? '';
  const which = hosts.length === 1 ? ` ${names}` : hostLines(hosts);
  throw new SwapError('ERR_ARG_VALUE', `NAME: choose a disk:${which}`, { key: 'NAME' });
}
