/** `frontswap attach`: prints the text to paste to attach a disk to a guest. Changes nothing. */
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import type { DiskReport } from '../host/list-document.ts';
import { formatUri, isLoopback, type NbdTarget, parseUri } from '../host/uri.ts';
import { type Arguments, type Command, Exit, flag, text } from './command.ts';
import { controlOption, disksNamed, findHosts, hostWithDisk, onlyDisk } from './disks.ts';
import { formatNames, formatSnippet } from './snippets.ts';
import { socketFormats, socketSnippet } from './vhost-user-snippets.ts';
import type { World } from './world.ts';

const isRemote = ({ address }: NbdTarget): boolean =>
  address.kind === 'tcp' && !isLoopback(address.host);

/**
 * QEMU and libvirt on this machine use the Unix socket. nbd-client runs in a guest or on another machine and needs a network
 * address. A host on 0.0.0.0 reports a loopback address, because it does not know which of its addresses clients use.
 */
function chooseTarget({ name, uris }: DiskReport, format: string): NbdTarget {
  const targets = uris.map((uri) => ({ ...parseUri("the host's URI", uri), diskName: name }));
  const [first] = targets;
  if (first === undefined)
    throw new SwapError('ERR_PEER_PROTOCOL', `the host reports no address for disk '${name}'`);
  if (format !== 'nbd-client')
    return targets.find(({ address }) => address.kind === 'unix') ?? first;
  const remote = targets.find(isRemote);
  if (remote !== undefined) return remote;
  throw new SwapError(
    'ERR_IO_LOCAL_ONLY',
    `nbd-client must not run on the machine of the host, and disk '${name}' is available only at ` +
      `${uris.join(', ')}; start the host with --ipaddr ADDRESS, or pass ` +
      `--uri nbd://ADDRESS:PORT/${encodeURIComponent(name)} (also if the host listens on all addresses)`,
    { disk: name },
  );
}

function targetOfUri(uri: string, name: string | undefined): NbdTarget {
  const target = parseUri('--uri', uri);
  if (name === undefined || name === target.exportName) return target;
  if (target.exportName === '') return { ...target, exportName: name };
  throw new SwapError(
    'ERR_ARG_CONFLICT',
    `--uri is for disk '${target.exportName}', but NAME is '${name}'`,
    { key: '--uri', value: uri },
  );
}

async function findDisk(args: Arguments, world: World): Promise<DiskReport> {
  const name = args.positionals[0];
  const hosts = await findHosts('attach', args, world);
  if (name === undefined) return onlyDisk(hosts);
  const [disk] = disksNamed(name, [hostWithDisk(name, hosts)]);
  assert(disk !== undefined, 'the host has the disk');
  return disk;
}

interface Attachment {
  readonly text: string;
  /** NBD URI; null: the guest opens the vhost-user socket. */
  readonly target: NbdTarget | null;
}

async function attachment(args: Arguments, world: World, format: string): Promise<Attachment> {
  const uri = text(args, 'uri');
  const disk = uri === null ? await findDisk(args, world) : null;
  if (disk !== null && disk.vhostUserSocket !== '' && socketFormats.includes(format))
    return { text: socketSnippet(format, disk.name, disk.vhostUserSocket), target: null };
  const target =
    disk === null ? targetOfUri(uri ?? '', args.positionals[0]) : chooseTarget(disk, format);
  return { text: formatSnippet(format, target), target };
}

export const attachCommand: Command = {
  name: 'attach',
  group: 'disk',
  summary: 'print what to paste to attach a disk to a guest',
  usage: 'attach --format FORMAT [OPTIONS] [NAME]',
  examples: [
    { line: 'frontswap attach --format qemu', what: 'arguments for QEMU; the host has one disk' },
    { line: 'frontswap attach --format libvirt vm1', what: 'XML for virsh edit; disk vm1' },
    {
      line: 'frontswap attach --format nbd-client --uri nbd://10.0.0.1/vm1',
      what: 'when the control socket of the host is not accessible',
    },
  ],
  options: [
    {
      name: 'format',
      short: 'f',
      value: formatNames.join('|'),
      help: 'which client will attach it',
    },
    { name: 'uri', value: 'URI', help: 'the NBD URI of the disk, instead of a query to a host' },
    controlOption,
  ],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'NAME is required if there are several disks. The command changes nothing: paste its output; the comments in it list the commands to run in the guest.',
    'A disk with vhost-user=PATH is attached through that socket, except with nbd-client and with --uri.',
    'nbd-client runs in a guest or on another machine: start the host with --ipaddr ADDRESS, or use --uri here. A host that listens on 0.0.0.0 does not know which address to print.',
    'Exit status: 0 printed, 1 failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const format = text(args, 'format');
    if (format === null)
      throw new SwapError('ERR_ARG_VALUE', `--format: choose one of ${formatNames.join(', ')}`, {
        key: '--format',
      });
    // Reports an unknown format before it queries a host.
    formatSnippet(format, { address: { kind: 'unix', path: '/' }, exportName: '' });
    const { text: snippet, target } = await attachment(args, world, format);
    const uri = target === null ? null : formatUri(target.address, target.exportName);
    world.stdout.write(
      flag(args, 'json')
        ? `${JSON.stringify({ schemaVersion: 1, format, uri, text: snippet })}\n`
        : snippet,
    );
    return Exit.ok;
  },
};
