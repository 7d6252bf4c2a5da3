/** A chain passes the queue and the device without garbage: a request of one piece, and one over two regions. */
import assert from 'node:assert/strict';
import { nullDisk } from '../../src/block/disks/null-disk.ts';
import { EVENT_INDEX, INDIRECT } from '../../src/virtio/block-config.ts';
import { BlockDevice } from '../../src/virtio/block-device.ts';
import { RequestType } from '../../src/virtio/request.ts';
import { AVAIL, Driver, Guest, HIGH, LOW, MIDDLE, USED } from '../support/fakes/virtio-driver.ts';
import { noGarbageTest, type Work } from '../support/fixtures/no-garbage.ts';

const SIZE = 16;

function setUp(indirect: boolean): Work {
  const guest = new Guest();
  const driver = new Driver(guest, SIZE, true);
  const device = new BlockDevice({
    disk: nullDisk(2 ** 34),
    serial: 'disk',
    queues: 1,
    onIdle: () => undefined,
  });
  device.setFeatures(EVENT_INDEX | INDIRECT);
  device.setMemory(guest.regions);
  device.start(driver.setup);
  const header = new Uint8Array(16);
  header[0] = RequestType.in;
  new DataView(header.buffer).setUint32(8, 2 ** 23 + 8, true); // beyond 2^31 bytes
  guest.write(HIGH, header);
  // The same chain each time: an indirect one is also at a high address.
  driver.add(
    [
      { address: HIGH, length: 16, writable: false },
      { address: MIDDLE - 512, length: 4096, writable: true },
      { address: HIGH + 16, length: 1, writable: true },
    ],
    indirect,
  );
  const low = guest.view(LOW, 0x8000);
  let available = 1;
  return {
    run: () => {
      device.kicked(0);
      device.serve();
      device.takeNotify(0);
      low.setUint16(AVAIL - LOW + 4 + (available & (SIZE - 1)) * 2, 0, true);
      available = (available + 1) & 0xffff;
      low.setUint16(AVAIL - LOW + 2, available, true);
    },
    check: () => {
      assert.equal(device.takeFault(), null);
      assert.equal(low.getUint16(USED - LOW + 2, true), (available - 1) & 0xffff);
      assert.equal(guest.read(HIGH + 16, 1)[0], 0);
    },
  };
}

for (const indirect of [false, true])
  noGarbageTest(`a read of three descriptors makes no garbage, indirect: ${indirect}`, () =>
    setUp(indirect),
  );
