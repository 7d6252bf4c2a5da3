/** The settings of a disk: `[disks.NAME]` of a file, `--disk NAME=SIZE,KEY=VALUE`, and the body of POST /v1/disks. */
import * as v from 'valibot';
import { SwapError } from '../../base/errors.ts';
import { formatSize } from '../../base/size.ts';
import type { UsableMemory } from '../../os/linux/usable-memory.ts';
import { changedAccess, type Ids, parseIds } from '../disk-access.ts';
import {
  checkDiskName,
  type DiskConfig,
  type DiskText,
  KEEP_SECONDS_MAX,
  parseDiskPath,
  parseDiskSize,
  parseKeep,
  parseRate,
} from '../disk-config.ts';
import { leastBytes, parseLimit } from '../limits.ts';
import type { DiskLayer, Setting } from './layers.ts';
import { Problems } from './problems.ts';
import {
  checkEntries,
  type Entries,
  parsedBy,
  refusing,
  setting,
  settingOr,
  text,
  textOrNumber,
} from './schema.ts';
import { isTable } from './shown-value.ts';

const sizeJson = { type: ['string', 'integer'], minimum: 0 } as const;
export const idsJson: object = {
  oneOf: [
    { type: 'array', items: { type: 'integer', minimum: 0 } },
    { type: 'integer', minimum: 0 },
    { type: 'string' },
  ],
};

/** `[1000, 1001]` as `1000:1001`, which flags have; `[]` is `none`. */
export const ids = (): v.GenericSchema<unknown, Ids> =>
  v.pipe(
    v.union(
      [
        v.pipe(
          v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
          v.transform((list) => (list.length === 0 ? 'none' : list.join(':'))),
        ),
        v.string(),
        v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.transform(String)),
      ],
      refusing(
        'is not a list of numeric ids, such as [1000, 1001]; "none" and "any" are also allowed',
      ),
    ),
    parsedBy(parseIds),
  );

const onOff = (): v.GenericSchema<unknown, boolean> =>
  v.union(
    [
      v.boolean(),
      v.pipe(
        v.picklist(['on', 'off']),
        v.transform((word) => word === 'on'),
      ),
    ],
    refusing('is neither on nor off'),
  );

const entriesFor = (memory: UsableMemory) =>
  ({
    size: setting(v.pipe(textOrNumber(), parsedBy(parseDiskSize)), {
      value: 'SIZE',
      help: 'size of the disk, 40K to 8T, rounded up to a multiple of 4096 bytes; required',
      json: sizeJson,
      reload: 'at once',
    }),
    limit: setting(
      v.pipe(
        textOrNumber(),
        parsedBy((from, limit) => parseLimit(from, limit, memory)),
      ),
      {
        value: 'SIZE',
        help: 'its memory limit',
        json: sizeJson,
        reload: 'at once',
      },
    ),
    backing: setting(text(), {
      value: 'PATH',
      help: 'a file or block device for pages that do not compress or do not fit',
      json: { type: 'string', minLength: 1 },
      reload: 'remove and add the disk',
    }),
    shared: settingOr(onOff(), false, {
      value: 'on',
      help: 'several clients may open it at the same time',
      json: { type: 'boolean' },
      reload: 'remove and add the disk',
    }),
    'vhost-user': setting(v.pipe(text(), parsedBy(parseDiskPath)), {
      value: 'PATH',
      help: 'a socket where one guest of this machine opens it by vhost-user-blk',
      json: { type: 'string', minLength: 1 },
      reload: 'remove and add the disk',
    }),
    keep: settingOr(v.pipe(textOrNumber(), parsedBy(parseKeep)), 'never', {
      value: 'SECONDS',
      help: 'drop its pages this long after the last client disconnects',
      json: {
        oneOf: [{ type: 'integer', minimum: 0, maximum: KEEP_SECONDS_MAX }, { type: 'string' }],
      },
      reload: 'at once',
    }),
    rate: settingOr(v.pipe(textOrNumber(), parsedBy(parseRate)), 0, {
      value: 'SIZE',
      help: 'bytes per second that its clients may send and receive',
      json: sizeJson,
      reload: 'at once',
    }),
    'allow-uid': setting(ids(), {
      value: 'ID[:ID...]',
      help: 'the users of the clients that may see it',
      json: idsJson,
      reload: 'at once',
    }),
    'allow-gid': setting(ids(), {
      value: 'ID[:ID...]',
      help: 'the groups of the clients that may see it',
      json: idsJson,
      reload: 'at once',
    }),
  }) satisfies Entries;

/** The settings, for reference pages. */
export const diskEntries: Entries = entriesFor({ bytes: 0, isGroupLimit: false });

/** The default limit of a disk, and the memory that percentages are shares of. */
export interface LimitDefaults {
  readonly limitBytes: number;
  readonly memory: UsableMemory;
}

/** A key such as `b` in [disks.a.b] comes from an unquoted name with a dot. */
function whyUnknown(name: string, key: string, { value }: Setting): string {
  const hint = isTable(value) ? `; quote a name with a dot: [disks."${name}.${key}"]` : '';
  return `a disk has no option '${key}'${hint}`;
}

/**
 * Checks the settings of a disk.
 * @returns null if something is wrong; `problems` then has the errors
 */
export function checkDisk(
  name: string,
  { from, settings }: DiskLayer,
  { limitBytes: defaultLimit, memory }: LimitDefaults,
  problems: Problems,
): DiskConfig | null {
  const before = problems.count;
  problems.attempt(() => checkDiskName(from, name));
  const values = checkEntries(entriesFor(memory), settings, problems, (key, found) =>
    whyUnknown(name, key, found),
  );
  if (!settings.has('size'))
    problems.add(
      () =>
        new SwapError('ERR_ARG_VALUE', `${from}: size: is missing: write size = "1G"`, {
          key: from,
        }),
    );
  const { size, limit: limitBytes = defaultLimit, backing, shared, keep, rate } = values;
  const vhostUser = values['vhost-user'];
  const [uids, gids] = [values['allow-uid'], values['allow-gid']];
  const isOpen = uids === undefined && gids === undefined;
  const access = isOpen
    ? null
    : changedAccess(null, {
        ...(uids === undefined ? {} : { uids }),
        ...(gids === undefined ? {} : { gids }),
      });
  if (size === undefined || problems.count > before) return null;
  const disk: DiskConfig = {
    ...{ name, sizeBytes: size, limitBytes, isShared: shared, keepSeconds: keep, rateBytes: rate },
    ...(access === null ? {} : { access }),
    ...(backing === undefined ? {} : { backing }),
    ...(vhostUser === undefined ? {} : { vhostUser }),
  };
  const least = leastBytes(disk);
  if (backing === undefined || limitBytes === 0 || limitBytes >= least) return disk;
  const place = settings.get('limit')?.from ?? `${from}: limit`;
  problems.add(
    () =>
      new SwapError(
        'ERR_ARG_VALUE',
        `${place}: '${formatSize(limitBytes)}' is too small for the tables of a disk of ${formatSize(size)} with a backing: at least ${Math.ceil(least / 1024)}K`,
        { key: place, value: formatSize(limitBytes) },
      ),
  );
  return null;
}

/** The layer made from the textual parts of a disk. */
export function layerOfDisk(from: string, { size, given }: DiskText): DiskLayer {
  const settings = new Map<string, Setting>([['size', { value: size, from }]]);
  for (const [key, value] of given) settings.set(key, { value, from: `${from}: ${key}` });
  return { from, settings };
}

/**
 * Checks the settings of a disk that is added while the host runs.
 * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN
 */
export function resolveDisk(from: string, disk: DiskText, defaults: LimitDefaults): DiskConfig {
  const problems = new Problems();
  const config = checkDisk(disk.name, layerOfDisk(from, disk), defaults, problems);
  problems.throwIfAny();
  return config!;
}
