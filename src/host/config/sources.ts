/** Reads all sources of settings; later sources override earlier ones. */
import { dropInsOf } from './drop-ins.ts';
import { type Flags, layerOfFlags } from './flags.ts';
import { type HostConfig, type ResolveOptions, resolveHostConfig } from './host-config.ts';
import { type Layer, mergeLayers } from './layers.ts';
import { Problems } from './problems.ts';
import { layerOfFile } from './toml-file.ts';

export interface Sources {
  /** The file of --config; null: none is read. */
  readonly file: string | null;
  readonly flags: Flags;
}

/**
 * Reads the files and checks everything.
 * @throws SwapError every error of all sources, as Problems.throwIfAny()
 */
export function readHostConfig({ file, flags }: Sources, options: ResolveOptions = {}): HostConfig {
  const problems = new Problems();
  const paths = file === null ? [] : [file, ...dropInsOf(file, problems)];
  let isIncomplete = problems.count > 0;
  const layers: Layer[] = [];
  for (const path of paths) {
    const layer = layerOfFile(path, problems);
    if (layer === null) isIncomplete = true;
    else layers.push(layer);
  }
  layers.push(layerOfFlags(flags, problems));
  // A file or folder that could not be read may contain settings that others depend on.
  if (isIncomplete) problems.throwIfAny();
  return resolveHostConfig(mergeLayers(layers), options, problems);
}
