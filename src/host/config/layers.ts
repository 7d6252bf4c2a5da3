/** Unchecked settings by key, as a source has them; and how sources override each other. */

export interface Setting {
  readonly value: unknown;
  /** Origin for messages: `--port`, or `host.toml:3: port`. */
  readonly from: string;
}

export type Settings = ReadonlyMap<string, Setting>;

export interface DiskLayer {
  /** Where the disk is first described. */
  readonly from: string;
  readonly settings: Settings;
}

/** The settings of a file, of the flags, or of all sources together. */
export interface Layer {
  readonly settings: Settings;
  readonly disks: ReadonlyMap<string, DiskLayer>;
}

/** Merges key by key; a later layer overrides. */
export function mergeLayers(layers: readonly Layer[]): Layer {
  const settings = new Map<string, Setting>();
  const disks = new Map<string, DiskLayer>();
  for (const layer of layers) {
    for (const [key, setting] of layer.settings) settings.set(key, setting);
    for (const [name, disk] of layer.disks) {
      const before = disks.get(name) ?? { from: disk.from, settings: new Map<string, Setting>() };
      disks.set(name, {
        from: before.from,
        settings: new Map([...before.settings, ...disk.settings]),
      });
    }
  }
  return { settings, disks };
}
