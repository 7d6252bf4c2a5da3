/**
 * Text to paste to attach a disk to a guest: QEMU, libvirt, Cloud Hypervisor, Firecracker, nbd-client. Three kinds of
 * quoting are applied, each in one place: QEMU's option lists (a comma is doubled), the shell, XML.
 *
 * Cloud Hypervisor and Firecracker have no NBD client. They open disks of other processes by vhost-user, so
 * qemu-storage-daemon connects the two: it is a client of the host, and serves the disk on a vhost-user socket.
 *
 * Sources: QEMU docs/system/qemu-block-drivers, -blockdev, docs/system/tls and qemu-storage-daemon(1); libvirt
 * formatdomain; Cloud Hypervisor docs/vhost-user-blk-testing.md; Firecracker docs/api_requests/block-vhost-user.md;
 * nbd-client(8).
 */
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { SwapError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { NbdTarget, UriTls } from '../host/uri.ts';

/** Quotes a word for the shell, if it needs quotes. */
export const shellQuote = (word: string): string =>
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/** QEMU's option parser ends a value at a comma; a doubled comma is a literal one. */
export const qemuValue = (value: string): string => value.replaceAll(',', ',,');

const xmlEntities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
  '"': '&quot;',
};
export const xmlText = (text: string): string =>
  text.replace(/[&<>'"]/g, (c) => xmlEntities[c] ?? c);

/** A QEMU id: letters, digits, - . _, a letter first, at most 31 characters. */
const nodeName = (exportName: string): string => `nbd-${plainName(exportName, 31 - 'nbd-'.length)}`;

/** The virtio serial that names /dev/disk/by-id/virtio-SERIAL in the guest: at most 20 bytes. */
const serialOf = (exportName: string): string => plainName(exportName, 20);

/** A Firecracker drive id: letters, digits and underscores. */
const driveId = (exportName: string): string => plainName(exportName, 31, /[^A-Za-z0-9_]/g, '_');

/**
 * The name in letters, digits and - . _ only. If characters are replaced or cut off, a hash of the full name is appended, so
 * that different names stay different and a guest never finds the wrong disk.
 * @param other characters to replace, all of them
 * @param filler what replaces them
 */
export function plainName(
  exportName: string,
  length: number,
  other: RegExp = /[^A-Za-z0-9._-]/g,
  filler: string = '-',
): string {
  const name = exportName === '' ? 'swap' : exportName;
  const plain = name.replace(other, filler);
  if (plain === name && name.length <= length) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 8);
  return `${plain.slice(0, length - 1 - hash.length)}${filler}${hash}`;
}

/** The commands to run in the guest. @param disk device name without /dev/ */
export function guestCommands(disk: string, isVirtio: boolean): string[] {
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

export const hashLines = (lines: readonly string[]): string =>
  lines.map((line) => (line === '' ? '#\n' : `# ${line}\n`)).join('');

const unsupported = (why: string): SwapError =>
  new SwapError('ERR_IO_UNSUPPORTED', why, { reason: 'tls' });

const titleOf = (exportName: string): string =>
  exportName === '' ? 'the default export' : `disk ${exportName}`;

/** Where QEMU and libvirt look for certificates by default. */
const CERTIFICATES = '/etc/pki/qemu';

interface QemuTls {
  /** Value of -object. */
  readonly object: string;
  /** Parameters of the block device. */
  readonly parameters: string;
  /** Comment lines. */
  readonly comment: readonly string[];
}

/** @param isUnix a Unix socket has no host name to check the server's certificate against */
function qemuTls(node: string, tls: UriTls, isUnix: boolean): QemuTls {
  const id = `tls-${node.slice('nbd-'.length)}`.slice(0, 31);
  const folder = tls.certificates ?? CERTIFICATES;
  const head = (kind: string): string =>
    `tls-creds-${kind},id=${id},endpoint=client,dir=${qemuValue(folder)}`;
  if (tls.type === 'psk')
    return {
      object: `${head('psk')},username=qemu`,
      parameters: `tls-creds=${id},`,
      comment: [
        `TLS: ${folder} contains keys.psk, readable only by QEMU, with a line USERNAME:HEXKEY of the`,
        "host's --tls-psk file. Replace username=qemu with that name.",
      ],
    };
  const hostname = tls.hostname ?? (isUnix ? 'localhost' : null);
  return {
    object: `${head('x509')},verify-peer=on`,
    parameters: `tls-creds=${id},${hostname === null ? '' : `tls-hostname=${qemuValue(hostname)},`}`,
    comment: [
      `TLS: ${folder} contains ca-cert.pem, and client-cert.pem and client-key.pem if the host verifies`,
      "clients. tls-hostname is a name in the server's certificate; it needs QEMU 7.0.",
    ],
  };
}

/** QEMU's NBD client as a block device named `node`. */
function qemuClient({ address, exportName }: NbdTarget, node: string, tls: QemuTls | null): string {
  const server =
    address.kind === 'unix'
      ? `server.type=unix,server.path=${qemuValue(address.path)}`
      : `server.type=inet,server.host=${qemuValue(address.host)},server.port=${address.port}`;
  return (
    `driver=nbd,node-name=${node},${server},export=${qemuValue(exportName)},` +
    `${tls?.parameters ?? ''}reconnect-delay=60,discard=unmap`
  );
}

const tlsOf = ({ address }: NbdTarget, node: string): QemuTls | null =>
  address.tls === undefined ? null : qemuTls(node, address.tls, address.kind === 'unix');

function qemu(target: NbdTarget): string {
  const { exportName, diskName = exportName } = target;
  const node = nodeName(diskName);
  const tls = tlsOf(target, node);
  const blockdev = qemuClient(target, node, tls);
  const device =
    `virtio-blk-pci,drive=${node},serial=${serialOf(diskName)},discard=on,` +
    'logical_block_size=4096,physical_block_size=4096,werror=report,rerror=report';
  return (
    `# QEMU, ${titleOf(diskName)}: add to the command line of the guest\n` +
    hashLines(tls?.comment ?? []) +
    (tls === null ? '' : `-object ${shellQuote(tls.object)} \\\n`) +
    `-blockdev ${shellQuote(blockdev)} \\\n-device ${shellQuote(device)}\n\n` +
    hashLines(guestCommands('vdb', true))
  );
}

function libvirt({ address, exportName, diskName = exportName }: NbdTarget): string {
  const host =
    address.kind === 'unix'
      ? `<host transport='unix' socket='${xmlText(address.path)}'/>`
      : `<host name='${xmlText(address.host)}' port='${address.port}'/>`;
  const { tls } = address;
  if (tls?.type === 'psk')
    throw unsupported('libvirt has no pre-shared keys for NBD: use --tls-certificates on the host');
  const tlsHost = tls?.hostname ?? (address.kind === 'unix' ? 'localhost' : null);
  const tlsName = tlsHost === null ? '' : ` tlsHostname='${xmlText(tlsHost)}'`;
  const secure = tls === undefined ? '' : ` tls='yes'${tlsName}`;
  const name = exportName === '' ? '' : ` name='${xmlText(exportName)}'`;
  const comment = guestCommands('vdb', true)
    .map((line) => (line === '' ? '\n' : `  ${line}\n`))
    .join('');
  return `<disk type='network' device='disk'>
  <driver name='qemu' type='raw' cache='none' discard='unmap' error_policy='report' rerror_policy='report'/>
  <source protocol='nbd'${name}${secure}>
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

/** @param socket of the qemu-storage-daemon that is printed */
export type VhostUserClient = (
  target: Pick<NbdTarget, 'exportName' | 'diskName'>,
  socket: string,
) => string;

/** Commands that serve the disk on a vhost-user socket, and then what the hypervisor needs to open it. */
function vhostUser(title: string, client: VhostUserClient, target: NbdTarget): string {
  const { address, exportName, diskName = exportName } = target;
  const node = nodeName(diskName);
  const tls = tlsOf(target, node);
  const folder = address.kind === 'unix' ? dirname(address.path) : '/run';
  const name = `vhost-${plainName(diskName, 31 - 'vhost-'.length)}`;
  const socket = join(folder, `${name}.sock`);
  const server =
    `type=vhost-user-blk,id=${name},node-name=${node},addr.type=unix,` +
    `addr.path=${qemuValue(socket)},writable=on,logical-block-size=4096,num-queues=1`;
  return (
    hashLines([
      `${title}, ${titleOf(diskName)}: it opens the disk by vhost-user. qemu-storage-daemon (Debian:`,
      'qemu-system-common) serves it, and has to run before the guest starts. The folder of the',
      'socket decides who can connect: keep it private.',
      ...(tls?.comment ?? []),
    ]) +
    `qemu-storage-daemon --daemonize --pidfile ${shellQuote(join(folder, `${name}.pid`))} \\\n` +
    (tls === null ? '' : `  --object ${shellQuote(tls.object)} \\\n`) +
    `  --blockdev ${shellQuote(qemuClient(target, node, tls))} \\\n` +
    `  --export ${shellQuote(server)}\n\n` +
    `${client(target, socket)}\n` +
    hashLines(guestCommands('vdb', true))
  );
}

export const cloudHypervisor: VhostUserClient = (_target, socket) => {
  // Its option parser can quote a comma in a value, but not a quote.
  if (/["[\]]/.test(socket))
    throw new SwapError(
      'ERR_ARG_VALUE',
      `'${socket}': Cloud Hypervisor cannot open a path with quotes or brackets; choose another folder for --unix`,
      { value: socket },
    );
  const path = socket.includes(',') ? `"${socket}"` : socket;
  const disk = `vhost_user=on,socket=${path},num_queues=1,queue_size=128`;
  return (
    hashLines(['Add to the command line of cloud-hypervisor; the memory must be shared:']) +
    `#   --memory size=1G,shared=on \\\n#   --disk ${shellQuote(disk)}\n`
  );
};

export const firecracker: VhostUserClient = ({ exportName, diskName = exportName }, socket) => {
  const id = driveId(diskName);
  const drive = JSON.stringify({ drive_id: id, socket, is_root_device: false });
  return (
    hashLines([
      "Before the guest starts, with the socket of Firecracker's API in place of /run/firecracker.socket:",
    ]) +
    `curl --unix-socket /run/firecracker.socket -X PUT http://localhost/drives/${id} \\\n` +
    `  -H 'Content-Type: application/json' -d ${shellQuote(drive)}\n`
  );
};

function nbdClient({ address, exportName, diskName = exportName }: NbdTarget): string {
  if (address.tls !== undefined)
    throw unsupported(
      'nbd-client decrypts TLS in a separate process, which hangs when its machine swaps to the disk: ' +
        'use a kernel tunnel (WireGuard, IPsec) to a host without TLS, or --format qemu',
    );
  const where =
    address.kind === 'unix'
      ? `-unix ${shellQuote(address.path)}`
      : `${shellQuote(address.host)} ${address.port}`;
  const name = exportName === '' ? '' : ` -N ${shellQuote(exportName)}`;
  return (
    hashLines([
      `nbd-client, ${titleOf(diskName)}: as root, in a guest or on another machine.`,
      'Do not run it on the machine of the host: a machine that swaps to one of its',
      'own processes hangs when that process needs memory.',
    ]) +
    `modprobe nbd\nnbd-client ${where}${name} -b 4096 -persist -swap /dev/nbd0\n\n` +
    hashLines(guestCommands('nbd0', false))
  );
}

const formats: Readonly<Record<string, (target: NbdTarget) => string>> = {
  qemu,
  libvirt,
  'cloud-hypervisor': (target) => vhostUser('Cloud Hypervisor', cloudHypervisor, target),
  firecracker: (target) => vhostUser('Firecracker', firecracker, target),
  'nbd-client': nbdClient,
};

export const formatNames: readonly string[] = Object.keys(formats);

/**
 * A name or path with control characters cannot be pasted: a terminal would execute them, and XML does not allow them.
 * @throws SwapError ERR_ARG_VALUE
 */
function checkTarget({ address, exportName, diskName = exportName }: NbdTarget): void {
  const { hostname = '', certificates = '' } = address.tls ?? {};
  const place = address.kind === 'unix' ? address.path : address.host;
  checkPrintable(exportName, diskName, place, hostname, certificates);
}

/** @throws SwapError ERR_ARG_VALUE */
export function checkPrintable(...texts: readonly string[]): void {
  for (const text of texts)
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
  checkTarget(target);
  return write(target);
}
