/**
 * Text to paste to attach a disk to a guest: QEMU, libvirt, nbd-client. Three kinds of quoting are applied, each in one
 * place: QEMU's option lists (a comma is doubled), the shell, XML.
 *
 * Sources: QEMU docs/system/qemu-block-drivers and -blockdev; libvirt formatdomain; nbd-client(8).
 */
import { createHash } from 'node:crypto';
import { SwapError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { NbdTarget } from '../host/uri.ts';

/** Quotes a word for the shell, if it needs quotes. */
export const shellQuote = (word: string): string =>
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/** QEMU's option parser ends a value at a comma; a doubled comma is a literal one. */
const qemuValue = (value: string): string => value.replaceAll(',', ',,');

const xmlEntities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
  '"': '&quot;',
};
const xmlText = (text: string): string => text.replace(/[&<>'"]/g, (c) => xmlEntities[c] ?? c);

/** A QEMU id: letters, digits, - . _, a letter first, at most 31 characters. */
const nodeName = (exportName: string): string => `nbd-${plainName(exportName, 31 - 'nbd-'.length)}`;

/** The virtio serial that names /dev/disk/by-id/virtio-SERIAL in the guest: at most 20 bytes. */
const serialOf = (exportName: string): string => plainName(exportName, 20);

/**
 * The name in letters, digits and - . _ only. If characters are replaced or cut off, a hash of the full name is appended, so
 * that different names stay different and a guest never finds another disk by its name.
 */
function plainName(exportName: string, length: number): string {
  const name = exportName === '' ? 'swap' : exportName;
  const plain = name.replace(/[^A-Za-z0-9._-]/g, '-');
  if (plain === name && name.length <= length) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 8);
  return `${plain.slice(0, length - 1 - hash.length)}-${hash}`;
}

/** The commands to run in the guest. @param disk device name without /dev/ */
function guestCommands(disk: string, isVirtio: boolean): string[] {
  const rotational = isVirtio
    ? [
        'virtio-blk reports a rotational disk, and on such a disk the kernel does not discard',
        'freed swap, so the host cannot free its memory. Before swapon, at every boot, run:',
        `  echo 0 > /sys/block/${disk}/queue/rotational`,
      ]
    : [];
  return [
    'In the guest, as root (see lsblk for the name of the disk):',
    `  mkswap /dev/${disk}`,
    ...rotational,
    // Not --discard=pages: an XML comment must not contain two hyphens.
    `  swapon -o pri=100,discard=pages /dev/${disk}`,
    '',
    'Make the disk several times larger than the swap in use: stored pages cost memory, the size',
    'does not. When swap is more than half full, the kernel frees the slot of each page that it',
    'reads, and later writes the page to another slot. It discards only free clusters of 2 MiB, so',
    'old copies stay stored beside the new ones.',
  ];
}

const hashLines = (lines: readonly string[]): string =>
  lines.map((line) => (line === '' ? '#\n' : `# ${line}\n`)).join('');

const titleOf = (exportName: string): string =>
  exportName === '' ? 'the default export' : `disk ${exportName}`;

function qemu({ address, exportName, diskName = exportName }: NbdTarget): string {
  const node = nodeName(diskName);
  const server =
    address.kind === 'unix'
      ? `server.type=unix,server.path=${qemuValue(address.path)}`
      : `server.type=inet,server.host=${qemuValue(address.host)},server.port=${address.port}`;
  const blockdev =
    `driver=nbd,node-name=${node},${server},export=${qemuValue(exportName)},` +
    'reconnect-delay=60,discard=unmap';
  const device =
    `virtio-blk-pci,drive=${node},serial=${serialOf(diskName)},discard=on,` +
    'logical_block_size=4096,physical_block_size=4096,werror=report,rerror=report';
  return (
    `# QEMU, ${titleOf(diskName)}: add to the command line of the guest\n` +
    `-blockdev ${shellQuote(blockdev)} \\\n-device ${shellQuote(device)}\n\n` +
    hashLines(guestCommands('vdb', true))
  );
}

function libvirt({ address, exportName, diskName = exportName }: NbdTarget): string {
  const host =
    address.kind === 'unix'
      ? `<host transport='unix' socket='${xmlText(address.path)}'/>`
      : `<host name='${xmlText(address.host)}' port='${address.port}'/>`;
  const name = exportName === '' ? '' : ` name='${xmlText(exportName)}'`;
  const comment = guestCommands('vdb', true)
    .map((line) => (line === '' ? '\n' : `  ${line}\n`))
    .join('');
  return `<disk type='network' device='disk'>
  <driver name='qemu' type='raw' cache='none' discard='unmap' error_policy='report' rerror_policy='report'/>
  <source protocol='nbd'${name}>
    ${host}
    <reconnect delay='60'/>
  </source>
  <target dev='vdb' bus='virtio'/>
  <blockio logical_block_size='4096' physical_block_size='4096'/>
  <serial>${xmlText(serialOf(diskName))}</serial>
</disk>
<!--
  Paste into <devices> of the guest with virsh edit GUEST, or save it and run virsh attach-device GUEST FILE.
${comment}-->
`;
}

function nbdClient({ address, exportName, diskName = exportName }: NbdTarget): string {
  const where =
    address.kind === 'unix'
      ? `-unix ${shellQuote(address.path)}`
      : `${shellQuote(address.host)} ${address.port}`;
  const name = exportName === '' ? '' : ` -N ${shellQuote(exportName)}`;
  return (
    hashLines([
      `nbd-client, ${titleOf(diskName)}: as root, in a guest or on another machine.`,
      'Not on the machine of the host: a machine that swaps to one of its own processes hangs when',
      'that process needs memory.',
    ]) +
    `modprobe nbd\nnbd-client ${where}${name} -b 4096 -persist -swap /dev/nbd0\n\n` +
    hashLines(guestCommands('nbd0', false))
  );
}

const formats: Readonly<Record<string, (target: NbdTarget) => string>> = {
  qemu,
  libvirt,
  'nbd-client': nbdClient,
};

export const formatNames: readonly string[] = Object.keys(formats);

/**
 * A name or path with control characters cannot be pasted: a terminal would execute them, and XML does not allow them.
 * @throws SwapError ERR_ARG_VALUE
 */
function checkPrintable({ address, exportName, diskName = exportName }: NbdTarget): void {
  for (const text of [exportName, diskName, address.kind === 'unix' ? address.path : address.host])
    if (/\p{Cc}/u.test(text))
      throw new SwapError(
        'ERR_ARG_VALUE',
        `'${printable(text)}' contains control characters and cannot be pasted; choose another name or path`,
        { value: printable(text) },
      );
}

/** @throws SwapError ERR_ARG_VALUE: unknown format, or control characters in the target */
export function formatSnippet(format: string, target: NbdTarget): string {
  const write = Object.hasOwn(formats, format) ? formats[format] : undefined;
  if (write === undefined)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `--format: unknown format '${format}'; choose one of ${formatNames.join(', ')}`,
      { key: '--format', value: format },
    );
  checkPrintable(target);
  return write(target);
}
