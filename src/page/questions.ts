/** The dialogs of the page, and the requests that they send. */
import { Refusal, send, setToken } from './connection.ts';
import { ask, type Field } from './dialog.ts';
import { announce } from './dom.ts';
import { exactSize, formatBytes } from './format.ts';
import type { DiskRow } from './wire.ts';

const SIZE_HINT = '512M, 4G; K, M, G and T are powers of 1024';
const FORCE = 'force';

const diskPath = (name: string): string => `/v1/disks/${encodeURIComponent(name)}`;

/** The values that were entered, as the body of a request. */
const givenIn = (values: ReadonlyMap<string, string>): Record<string, string> =>
  Object.fromEntries([...values].filter(([key, value]) => value !== '' && key !== FORCE));

const settings = (disk?: DiskRow): Field[] => [
  {
    key: 'limit',
    label: 'Memory limit',
    hint: 'Metadata included; 25% is a share of the memory, 0 is none',
    ...(disk === undefined ? {} : { value: exactSize(disk.limitBytes) }),
  },
  {
    key: 'rate',
    label: 'Rate limit',
    hint: 'Bytes per second to and from the clients, such as 50M; 0 is none',
    ...(disk === undefined ? {} : { value: exactSize(disk.rateBytes) }),
  },
  {
    key: 'keep',
    label: 'Keep, seconds',
    hint: `Drop the pages this long after the last client disconnects${disk === undefined ? '' : '; empty keeps it unchanged'}`,
  },
];

export function askAdd(): void {
  ask({
    title: 'Add a disk',
    fields: [
      { key: 'name', label: 'Name', isRequired: true },
      { key: 'size', label: 'Size', hint: SIZE_HINT, isRequired: true },
      ...settings(),
      {
        key: 'shared',
        label: 'Several clients may open it at the same time',
        kind: 'checkbox',
      },
    ],
    submit: 'Add',
    async onSubmit(values) {
      await send('POST', '/v1/disks', givenIn(values));
      announce(`Disk ${values.get('name')} is added.`);
    },
  });
}

export function askSet(disk: DiskRow): void {
  const fields: Field[] = [
    { key: 'size', label: 'Size', hint: SIZE_HINT, value: exactSize(disk.diskSizeBytes) },
    ...settings(disk),
  ];
  if (disk.connections > 0)
    fields.push({
      key: FORCE,
      label: `For a new size: disconnect ${clients(disk)}; the pages are kept`,
      kind: 'checkbox',
    });
  ask({
    title: `Change disk ${disk.name}`,
    fields,
    submit: 'Change',
    async onSubmit(values) {
      const given = givenIn(values);
      for (const { key, value } of fields) if (given[key] === value) delete given[key];
      if (Object.keys(given).length === 0) throw new Error('Nothing was changed.');
      await send('PATCH', `${diskPath(disk.name)}${force(values)}`, given);
      announce(`Disk ${disk.name} is changed.`);
    },
  });
}

const force = (values: ReadonlyMap<string, string>): string =>
  values.get(FORCE) === 'on' ? '?force=1' : '';

const clients = ({ connections }: DiskRow): string =>
  connections === 1 ? '1 client' : `${connections} clients`;

export function askRemove(disk: DiskRow): void {
  const isUsed = disk.connections > 0 || disk.dataBytes > 0;
  const text = isUsed
    ? `It has ${clients(disk)} and ${formatBytes(disk.dataBytes)} of pages. A guest that swaps to it fails.`
    : 'It has no clients and no pages.';
  const label = `Disconnect ${clients(disk)} and drop ${formatBytes(disk.dataBytes)} of pages`;
  ask({
    title: `Remove disk ${disk.name}?`,
    text,
    fields: isUsed ? [{ key: FORCE, label, kind: 'checkbox' }] : [],
    submit: 'Remove',
    isDangerous: true,
    async onSubmit(values) {
      try {
        await send('DELETE', `${diskPath(disk.name)}${force(values)}`);
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 409 || force(values) !== '')
          throw error;
        const how = isUsed ? 'check the box' : 'cancel, and choose Remove again';
        throw new Error(`${error.message}. To remove it anyway, ${how}.`);
      }
      announce(`Disk ${disk.name} is removed.`);
    },
  });
}

export async function changeGate({ name, isFrozen }: DiskRow): Promise<void> {
  await send('POST', `${diskPath(name)}/${isFrozen ? 'thaw' : 'freeze'}`);
  announce(`Disk ${name} is ${isFrozen ? 'thawed' : 'frozen'}.`);
}

/** Freezing a disk stalls its clients, so it asks first. */
export function askFreeze(disk: DiskRow): void {
  ask({
    title: `Freeze disk ${disk.name}?`,
    text: `Requests of ${clients(disk)} wait until you thaw it. Guests stall until then and may report errors after a minute or two.`,
    fields: [],
    submit: 'Freeze',
    isDangerous: true,
    onSubmit: () => changeGate(disk),
  });
}

/** @param onToken called with the token stored */
export function askToken(onToken: () => void): void {
  ask({
    title: 'Enter a token',
    text: "The token allows changes until the host stops. 'frontswap dashboard' prints it, after #token= in the URL.",
    fields: [{ key: 'token', label: 'Token', kind: 'password', isRequired: true }],
    submit: 'Use it',
    async onSubmit(values) {
      const text = values.get('token') ?? '';
      const token = /#token=([\w-]+)$/.exec(text)?.[1] ?? text;
      if (!/^[\w-]+$/.test(token)) throw new Error('This is not a token.');
      setToken(token);
      onToken();
    },
  });
}
