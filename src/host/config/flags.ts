/** The flags of `frontswap host` as the source of settings that overrides the files. */
import { SwapError } from '../../base/errors.ts';
import { splitDisk } from '../disk-config.ts';
import { layerOfDisk } from './disk-schema.ts';
import { hostSettings } from './host-schema.ts';
import type { DiskLayer, Layer, Setting } from './layers.ts';
import type { Problems } from './problems.ts';

export type Flags = ReadonlyMap<string, string | boolean | readonly string[]>;

/** @param flags values by long name; flags that are not settings are ignored */
export function layerOfFlags(flags: Flags, problems: Problems): Layer {
  const settings = new Map<string, Setting>();
  for (const { name, multiple } of hostSettings) {
    const value = flags.get(name);
    if (value !== undefined && multiple !== true) settings.set(name, { value, from: `--${name}` });
  }
  const disks = new Map<string, DiskLayer>();
  const from = '--disk';
  const words = flags.get('disk');
  for (const word of Array.isArray(words) ? (words as readonly string[]) : []) {
    const split = problems.attempt(() => splitDisk(from, word));
    if (split === null) continue;
    const { name } = split;
    if (disks.has(name))
      problems.add(
        () =>
          new SwapError('ERR_ARG_CONFLICT', `${from}: duplicate disk '${name}'`, {
            key: from,
            value: name,
          }),
      );
    disks.set(name, layerOfDisk(from, split));
  }
  return { settings, disks };
}
