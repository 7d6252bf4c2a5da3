/** `frontswap attach`: prints exactly what to paste to give a guest one of the disks. Changes nothing. */
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import type { DiskReport } from '../host/list-document.ts';
import { formatUri, isLoopback, type NbdTarget, parseUri } from '../host/uri.ts';
import { type Arguments, type Command, Exit, flag, text } from './command.ts';
import { controlOption, disksNamed, findHosts, hostWithDisk, onlyDisk } from './disks.ts';
import { formatNames, formatSnippet } from './snippets.ts';
import type { World } from './world.ts';

const isFromAfar = ({ address }: NbdTarget): boolean =>
  address.kind === 'tcp' && !isLoopback(address.host);

/**
 * Guests of this machine come by Unix socket. nbd-client runs inside them or elsewhere, where only an address of the
 * network reaches; a host on 0.0.0.0 reports loopback, for it does not know by which of its addresses it is meant.
 */
function chooseTarget({ name, uris }: DiskReport, format: string): NbdTarget {
  const targets = uris.map((uri) => ({ ...parseUri("the host's URI", uri), diskName: name }));
  const [first] = targets;
  if (first === undefined)
    throw new SwapError('ERR_PEER_PROTOCOL', `the host serves disk '${name}' nowhere`);
  if (format !== 'nbd-client')
    return targets.find(({ address }) => address.kind === 'unix') ?? first;
  const afar = targets.find(isFromAfar);
  if (afar !== undefined) return afar;
  throw new SwapError(
    'ERR_IO_LOCAL_ONLY',
    `nbd-client must not run on the machine of the host, and disk '${name}' tells of no other way ` +
      `than ${uris.join(', ')}; start the host with --ipaddr ADDRESS, or give ` +
      `--uri nbd://ADDRESS:PORT/${encodeURIComponent(name)} (also when it listens on all addresses)`,
    { disk: name },
  );
}

function targetOfUri(uri: string, name: string | undefined): NbdTarget {
  const target = parseUri('--uri', uri);
  if (name === undefined || name === target.exportName) return target;
  if (target.exportName === '') return { ...target, exportName: name };
  throw new SwapError(
    'ERR_ARG_CONFLICT',
    `--uri names the disk '${target.exportName}', NAME is '${name}'`,
    { key: '--uri', value: uri },
  );
}

async function findTarget(args: Arguments, world: World, format: string): Promise<NbdTarget> {
  const name = args.positionals[0];
  const uri = text(args, 'uri');
  if (uri !== null) return targetOfUri(uri, name);
  const hosts = await findHosts('attach', args, world);
  if (name === undefined) return chooseTarget(onlyDisk(hosts), format);
  const [disk] = disksNamed(name, [hostWithDisk(name, hosts)]);
  assert(disk !== undefined, 'the host has the disk');
  return chooseTarget(disk, format);
}

export const attachCommand: Command = {
  name: 'attach',
  group: 'disk',
  summary: 'print what to paste to give a guest a disk',
  usage: 'attach --format qemu|libvirt|nbd-client [OPTIONS] [NAME]',
  examples: [
    { line: 'frontswap attach --format qemu', what: 'arguments for QEMU; the host has one disk' },
    { line: 'frontswap attach --format libvirt vm1', what: 'XML for virsh edit; disk vm1' },
    {
      line: 'frontswap attach --format nbd-client --uri nbd://10.0.0.1/vm1',
      what: 'a disk of a host that cannot be asked from here',
    },
  ],
  options: [
    {
      name: 'format',
      short: 'f',
      value: formatNames.join('|'),
      help: 'which client will attach it',
    },
    { name: 'uri', value: 'URI', help: 'the disk as an NBD URI; no host is asked' },
    controlOption,
  ],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'NAME is needed when there are several disks. Nothing is changed: what is printed is for you to paste, and what to type in the guest stands below it as comments.',
    'nbd-client runs in a guest or on another machine: it needs a host with --ipaddr ADDRESS, or --uri here; a host on 0.0.0.0 does not know the address to print.',
    'Exit status: 0 printed, 1 failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const format = text(args, 'format');
    if (format === null)
      throw new SwapError('ERR_ARG_VALUE', `--format: say one of ${formatNames.join(', ')}`, {
        key: '--format',
      });
    // A wrong format is reported before any host is asked.
    formatSnippet(format, { address: { kind: 'unix', path: '/' }, exportName: '' });
    const target = await findTarget(args, world, format);
    const snippet = formatSnippet(format, target);
    const uri = formatUri(target.address, target.exportName);
    world.stdout.write(
      flag(args, 'json')
        ? `${JSON.stringify({ schemaVersion: 1, format, uri, text: snippet })}\n`
        : snippet,
    );
    return Exit.ok;
  },
};
