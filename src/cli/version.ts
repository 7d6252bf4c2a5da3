/** `frontswap version`, `--version`. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assert } from '../base/assert.ts';
import { type Command, Exit, flag } from './command.ts';

/** The version in the package.json of the nearest folder above this file. */
export function packageVersion(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    assert(folder !== dirname(folder), 'a folder above this file has a package.json');
    folder = dirname(folder);
  }
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  assert(typeof version === 'string', 'the version of the package is a string');
  return version;
}

export const versionCommand: Command = {
  name: 'version',
  group: 'general',
  summary: 'print the version',
  usage: 'version [--json]',
  examples: [{ line: 'frontswap version --json', what: 'for a bug report' }],
  options: [],
  positionals: 'none',
  positionalsMax: 0,
  notes: [],
  async run(args, world) {
    const version = packageVersion();
    world.stdout.write(
      flag(args, 'json')
        ? `${JSON.stringify({ frontswap: version, node: process.version, platform: process.platform, arch: process.arch })}\n`
        : `frontswap ${version}\n`,
    );
    return Exit.ok;
  },
};
