/** Colours, on terminals that support them, unless the user disables them. */
import type { Output, World } from './world.ts';

export interface Style {
  heading(text: string): string;
  danger(text: string): string;
}

const paint =
  (on: boolean, code: number) =>
  (text: string): string =>
    on ? `\x1b[${code}m${text}\x1b[0m` : text;

/**
 * NO_COLOR and --no-color override FORCE_COLOR, which overrides TERM=dumb and a pipe.
 * Sources: no-color.org, force-color.org.
 */
export function wantsColor(output: Output, env: World['env'], noColor: boolean): boolean {
  if (noColor || (env['NO_COLOR'] ?? '') !== '') return false;
  const force = env['FORCE_COLOR'] ?? '';
  if (force !== '') return force !== '0';
  return output.isTerminal && env['TERM'] !== 'dumb';
}

export const styleFor = (on: boolean): Style => ({
  heading: paint(on, 1),
  danger: paint(on, 31),
});
