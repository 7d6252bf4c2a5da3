/** The events of a host whose disks are added, changed and removed. */
import assert from 'node:assert/strict';
import {
  askAdd,
  askGate,
  askRemove,
  askReset,
  askSet,
  followEvents,
  type ReceivedEvent,
} from '../../src/host/control-client.ts';
import { until } from '../support/fixtures/until.ts';
import { live, liveTest, options } from './live-rig.ts';

liveTest(
  'events name what happened, and a late reader gets the earlier ones first',
  options,
  async (t) => {
    const { control, host, open } = await live(t, { disk: ['a=8M'] });
    await askAdd(control, { name: 'b', size: '1M' });
    await askSet(control, 'b', { rate: '1M', keep: 5 }, false);
    const seen: ReceivedEvent[] = [];
    const end = new AbortController();
    const reading = (async () => {
      for await (const event of followEvents(control, end.signal)) seen.push(event);
    })();
    await until('the earlier events', () => seen.length >= 2);
    await open('a');
    await askGate(control, 'b', 'freeze');
    await askGate(control, 'b', 'thaw');
    await askReset(control, 'b', false);
    await askRemove(control, 'b', false);
    await until('the last event', () => seen.some(({ event }) => event === 'removed'));
    const ofB = seen.filter(({ disk }) => disk === 'b').map(({ event }) => event);
    assert.deepEqual(ofB, ['added', 'changed', 'frozen', 'thawed', 'reset', 'removed']);
    assert.match(
      seen.find(({ event }) => event === 'changed')?.message ?? '',
      /rate, keep changed/,
    );
    assert.ok(seen.some(({ event, message }) => event === 'client' && /opened 'a'/.test(message)));
    assert.ok(seen.every(({ time }) => /^\d{4}-\d\d-\d\dT/.test(time)));
    await host.stop();
    await reading; // the stream ends with the host
  },
);
