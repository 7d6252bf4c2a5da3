/**
 * examples/guest in a Debian guest: systemd and udev make the host's disk swap at boot, the pages come back, and a disk
 * with a file system is left alone.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { debianTools, runDebian } from '../support/fixtures/debian-guest.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { must, nbdUri, peerTest, root, TemporaryFolder } from '../support/fixtures/processes.ts';

const timeoutMs = 900_000;
const BOOT_MS = 400_000;
const example = (name: string): string =>
  readFileSync(join(root, 'examples', 'guest', name), 'utf8');
const files = new Map([
  ['etc/udev/rules.d/61-frontswap.rules', example('61-frontswap.rules')],
  ['etc/systemd/system/frontswap-swap@.service', example('frontswap-swap@.service')],
]);

const SWAP_SCRIPT = `
echo "@swap $(swapon --show=NAME,PRIO --noheadings | tr -s ' ')"
echo "@rotational $(cat /sys/block/vda/queue/rotational)"
mount -t tmpfs -o size=1G none /mnt
seq 1 1000000 | head -c 4M > /part
parts() { for i in $(seq 100); do echo "$i"; cat /part; done; }
parts > /mnt/pages
echo "@written $(parts | cksum)"
echo "@read $(cksum < /mnt/pages)"
echo "@out $(sed -n 's/^pswpout //p' /proc/vmstat)"
rm /mnt/pages
systemctl stop 'frontswap-swap@vda.service'
echo "@stopped $(swapon --show=NAME --noheadings)."
`;

const lineOf = (output: string, name: string): string | undefined =>
  new RegExp(`^@${name} (.*?)\\r?$`, 'm').exec(output)?.[1];

peerTest(
  "a Debian guest swaps on the host's disk from boot on, and gets every page back",
  debianTools,
  async () => {
    await using host = await OwnHost.start({ disks: ['vm1=512M'] });
    const disk = await host.qemuArguments();
    const output = await runDebian({ files, script: SWAP_SCRIPT, disk, timeoutMs: BOOT_MS });
    assert.equal(lineOf(output, 'swap'), '/dev/vda 100', output.slice(-4000));
    assert.equal(lineOf(output, 'rotational'), '0');
    assert.equal(lineOf(output, 'read'), lineOf(output, 'written'));
    assert(Number(lineOf(output, 'out')) > 10_000, output.slice(-4000));
    assert.equal(lineOf(output, 'stopped'), '.');
    assert.ok((await host.figures()).storedPages < 10_000, 'freed pages were discarded');
  },
  timeoutMs,
);

peerTest(
  'a Debian guest leaves a disk with a file system alone',
  [...debianTools, 'mke2fs', 'qemu-img'],
  async () => {
    using folder = new TemporaryFolder();
    await using host = await OwnHost.start({ disks: ['vm1=64M'] });
    const uri = nbdUri('vm1', host.socketPath);
    const image = folder.file('ext4');
    await must('mke2fs', ['-q', '-t', 'ext4', image, '64M']);
    await must('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', image, uri]);
    const script = 'udevadm settle; echo "@type $(blkid -o value -s TYPE /dev/vda)"; swapon --show';
    const disk = await host.qemuArguments();
    const output = await runDebian({ files, script, disk, timeoutMs: BOOT_MS });
    assert.equal(lineOf(output, 'type'), 'ext4', output.slice(-4000));
    await must('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', image, uri]);
  },
  timeoutMs,
);
