/**
 * Text to paste to attach a disk that has a vhost-user socket: the hypervisor opens the socket itself, without NBD.
 *
 * Sources: QEMU docs/system/devices/vhost-user and qemu(1); libvirt formatdomain, "vhostuser" disks and memory backing; Cloud
 * Hypervisor docs/vhost-user-blk-testing.md; Firecracker docs/api_requests/block-vhost-user.md.
 */
import {
  checkPrintable,
  cloudHypervisor,
  firecracker,
  guestCommands,
  hashLines,
  plainName,
  qemuValue,
  shellQuote,
  type VhostUserClient,
  xmlText,
} from './snippets.ts';

const qemu: VhostUserClient = ({ exportName }, socket) => {
  const id = `vhost-${plainName(exportName, 31 - 'vhost-'.length)}`;
  return (
    hashLines(['Add to the command line of the guest, with the memory size of the guest:']) +
    '-object memory-backend-memfd,id=memory,size=1G,share=on -machine memory-backend=memory \\\n' +
    `-chardev ${shellQuote(`socket,id=${id},path=${qemuValue(socket)},reconnect=1`)} \\\n` +
    `-device vhost-user-blk-pci,chardev=${id}\n`
  );
};

const libvirt: VhostUserClient = (_target, socket) => `<disk type='vhostuser' device='disk'>
  <driver name='qemu' type='raw'/>
  <source type='unix' path='${xmlText(socket)}'>
    <reconnect enabled='yes' timeout='1'/>
  </source>
  <target dev='vdb' bus='virtio'/>
</disk>
<!--
  The memory of the guest must be shared. Its definition needs:
    <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  Paste into <devices> of the guest with virsh edit GUEST, or save it and run virsh attach-device GUEST FILE.
`;

const clients: Readonly<Record<string, VhostUserClient>> = {
  qemu,
  libvirt,
  'cloud-hypervisor': cloudHypervisor,
  firecracker,
};

/** The formats that open the socket. */
export const socketFormats: readonly string[] = Object.keys(clients);

/** @throws SwapError ERR_ARG_VALUE: control characters in the name or the path */
export function socketSnippet(format: string, disk: string, socket: string): string {
  checkPrintable(disk, socket);
  const text = clients[format]!({ exportName: disk }, socket);
  const commands = guestCommands('vdb', true);
  if (format === 'libvirt')
    return `${text}${commands.map((line) => (line === '' ? '\n' : `  ${line}\n`)).join('')}-->\n`;
  return `${hashLines([`disk ${disk}, through vhost-user: the guest shares its memory with the host.`])}${text}\n${hashLines(commands)}`;
}
